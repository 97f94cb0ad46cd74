/* The C interface of the native engine: HTSAT's audio tower on one processor, from packed weights.
 *
 * All functions may be called from several threads. A tower that is being closed must have no call running.
 */
#ifndef CLAPRT_NATIVE_H
#define CLAPRT_NATIVE_H

#include <stdint.h>

#if defined(_WIN32)
#define CLAPRT_API __declspec(dllexport)
#else
#define CLAPRT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define CLAPRT_NATIVE_ABI 1

enum {
  CLAPRT_OK = 0,
  CLAPRT_NOT_FINITE = 1, /* a log-mel is NaN, infinite, or beyond 1e6 dB */
  CLAPRT_NO_MEMORY = 2,
  CLAPRT_NO_THREADS = 3, /* the system gives no thread */
  CLAPRT_BAD_CALL = 4    /* an argument that is not possible: a null tower, a batch below 0, a bin that there is not */
};

typedef struct claprt_tower claprt_tower;

/* CLAPRT_NATIVE_ABI of the library. */
CLAPRT_API int claprt_native_abi(void);

/* Version of the packed files that the library reads. */
CLAPRT_API int claprt_native_format(void);

/* Instruction sets that this processor and this library have, separated by commas, the fastest first. */
CLAPRT_API const char* claprt_native_sets(void);

/* Sums of products of one layer in bytes, for tests: sums[outputs][64] of weight[outputs / 16][blocks][16][64] in blocks of 64
 * inputs with zeros after the last, input[inputs / 4][64][4] and start[outputs], by one of claprt_native_sets. Returns one of
 * the codes above. */
CLAPRT_API int claprt_native_sum(const char* set, const int8_t* weight, const int32_t* start, const uint8_t* input, int inputs,
                                 int outputs, int32_t* sums);

/* GELU as it is computed before it is rounded to bytes, for tests: y[count] of x[count], a multiple of 16. */
CLAPRT_API int claprt_native_gelu(const char* set, const float* x, float* y, int count);

/* Powers of mel bands, mels[frames][bands], of a signal of (frames - 1) * hop + 1024 samples, by one of claprt_native_sets, or
 * NULL for the fastest: with numpy's Fourier transform in float64, to the bit, powers rounded to float32, and sums of these times
 * weights in order of bins, each rounded once.
 *
 * window: [1024].
 * first, length: [bands], the first of a band's bins and their number; at least one, and at most up to bin 512.
 * weight: of the bins of all bands, one band after the other.
 * Returns one of the codes above. */
CLAPRT_API int claprt_native_mels(const char* set, const float* signal, int64_t frames, int hop, const double* window, int bands,
                                  const int32_t* first, const int32_t* length, const float* weight, float* mels);

/* Opens a tower.
 *
 * packed: the content of a packed file, aligned to 64 bytes; it must outlive the tower and stay as it is.
 * threads: of one call; the calling thread is one of them. 1 to 4096, of which at most 16 are used.
 * set: one of claprt_native_sets, or NULL for the fastest.
 * message: receives a sentence of at most message_bytes, ended by 0, if NULL is returned.
 */
CLAPRT_API claprt_tower* claprt_tower_open(const void* packed, uint64_t bytes, int threads, const char* set, char* message,
                                           int message_bytes);

/* Length of an embedding, views of a sound (1, or 4 of a fused tower), and frames of a log-mel. */
CLAPRT_API int claprt_tower_dim(const claprt_tower* tower);
CLAPRT_API int claprt_tower_views(const claprt_tower* tower);
CLAPRT_API int claprt_tower_frames(const claprt_tower* tower);

/* Unit vectors [batch, dim] of log-mels [batch, views, frames, 64] in dB.
 *
 * is_longer: [batch] of 0 or 1, for fused towers; NULL otherwise.
 * Returns one of the codes above.
 */
CLAPRT_API int claprt_tower_run(claprt_tower* tower, const float* log_mels, const uint8_t* is_longer, int64_t batch,
                                float* embeddings);

/* Closes a tower and ends its threads. Not in the child of a fork, which has none of them. */
CLAPRT_API void claprt_tower_close(claprt_tower* tower);

#ifdef __cplusplus
}
#endif

#endif
