#include "team.h"

#include <chrono>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace claprt {
namespace {

constexpr int64_t kIdleSpinNs = 50'000;  // a helper waits for the next call in a loop for so long, then sleeps
// A thread that is late may read what others write by then, and what it makes of that is thrown away. A race detector cannot
// know that, so under one nothing is done again.
#if defined(__SANITIZE_THREAD__)
#define CLAPRT_RACES_ARE_SOUGHT 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CLAPRT_RACES_ARE_SOUGHT 1
#endif
#endif
#if defined(CLAPRT_RACES_ARE_SOUGHT)
constexpr int64_t kLeastPatienceNs = 60'000'000'000;
#else
constexpr int64_t kLeastPatienceNs = 20'000;
#endif

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

int64_t Team::now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Team::Team(int threads, RunTower run, void* argument) : threads_(threads), run_(run), argument_(argument) {
  for (auto& state : state_) state.store(0, std::memory_order_relaxed);
  for (auto& when : claimed_) when.store(0, std::memory_order_relaxed);
  try {
    for (; helping_ < threads_ - 1; ++helping_) helpers_[helping_] = std::thread(&Team::help, this, helping_ + 1);
  } catch (...) {
    end();
    throw;
  }
}

Team::~Team() { end(); }

void Team::end() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (int i = 0; i < helping_; ++i) helpers_[i].join();
  helping_ = 0;
}

Team::Member Team::member(int worker) const {
  const uint64_t started = started_.load(std::memory_order_acquire);
  Team* team = const_cast<Team*>(this);
  if (worker == 0) return {team, 0, started, flag_, alone_};
  return {team, worker, started, (started & kFlag) != 0, false};
}

void Team::call(bool flag) {
  flag_ = flag;
  alone_ = helping_ == 0 || !steer();
  if (alone_) {
    run_(argument_, 0);
    return;
  }
  const uint64_t run = (started_.load() | (kPhases - 1)) + 1;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    started_.store(run + (flag ? kFlag : 0));
  }
  if (asleep_.load() != 0) wake_.notify_all();
  run_(argument_, 0);
  claims_.store((run + kPhases - 1) << 16, std::memory_order_release);  // every phase of this run is over
}

// Whether helpers have a core beside the caller's. The scheduler likes to wake a thread on the core of the thread that wakes it,
// where a helper helps nobody: helpers may run everywhere but there. Only helpers are moved, the caller never is.
bool Team::steer() {
#if defined(__linux__)
  const int cpu = sched_getcpu();
  cpu_set_t allowed;
  if (cpu < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0 || !CPU_ISSET(cpu, &allowed)) return true;
  if (CPU_COUNT(&allowed) < 2) return false;
  CPU_CLR(cpu, &allowed);
  if (CPU_EQUAL(&allowed, &helpers_may_)) return true;
  for (int i = 0; i < helping_; ++i) pthread_setaffinity_np(helpers_[i].native_handle(), sizeof allowed, &allowed);
  helpers_may_ = allowed;
#endif
  return true;
}

void Team::help(int worker) {
  uint64_t seen = 0;
  for (;;) {
    const int64_t since = now_ns();
    while (started_.load(std::memory_order_acquire) == seen && !stop_.load(std::memory_order_relaxed)) {
      for (int i = 0; i < 32; ++i) pause();
      if (now_ns() - since < kIdleSpinNs) continue;
      std::unique_lock<std::mutex> lock(mutex_);
      ++asleep_;
      wake_.wait(lock, [&] { return started_.load() != seen || stop_.load(); });
      --asleep_;
    }
    if (stop_.load()) return;
    seen = started_.load(std::memory_order_acquire);
    run_(argument_, worker);
  }
}

bool Team::enter(Member& member) {
  Team& team = *member.team;
  ++member.phase;
  uint64_t claims = team.claims_.load(std::memory_order_acquire);
  while (claims >> 16 < member.phase) {
    team.opened_.store(now_ns(), std::memory_order_relaxed);
    if (team.claims_.compare_exchange_weak(claims, member.phase << 16, std::memory_order_acq_rel)) return true;
  }
  return claims >> 16 == member.phase;
}

int Team::claim(const Member& member, int tasks) {
  Team& team = *member.team;
  uint64_t claims = team.claims_.load(std::memory_order_acquire);
  for (;;) {
    const int task = static_cast<int>(claims & 0xffff);
    if (claims >> 16 != member.phase || task >= tasks) return -1;
    if (!team.claims_.compare_exchange_weak(claims, claims + 1, std::memory_order_acq_rel)) continue;
    team.claimed_[task].store(now_ns(), std::memory_order_relaxed);
    return task;
  }
}

void Team::complete(const Member& member, int task) {
  member.team->state_[task].store(member.phase << 2 | kComplete, std::memory_order_release);
}

bool Team::may_publish(const Member& member, int task) {
  std::atomic<uint64_t>& state = member.team->state_[task];
  uint64_t found = state.load(std::memory_order_acquire);
  // every task of a phase that is over has been completed in it, so an older phase here means that this one is not over
  return found >> 2 < member.phase &&
         state.compare_exchange_strong(found, member.phase << 2 | kPublishing, std::memory_order_acq_rel);
}

int Team::overdue(const Member& member, int tasks, int64_t own_ns, int own_tasks) {
  Team& team = *member.team;
  const uint64_t done = member.phase << 2 | kComplete, publishing = member.phase << 2 | kPublishing;
  const int64_t opened = team.opened_.load(std::memory_order_relaxed);
  int64_t patience = own_tasks != 0 ? own_ns * 3 / 2 / own_tasks : (now_ns() - opened) * 3;
  if (patience < kLeastPatienceNs) patience = kLeastPatienceNs;
  unsigned turn = 0;
  for (int task = 0; task < tasks;) {
    const uint64_t found = team.state_[task].load(std::memory_order_acquire);
    if (found >= done) {  // or of a later phase
      ++task;
      continue;
    }
    pause();
    if (++turn % 16 != 0) continue;
    if (found == publishing) {
      if (turn % 256 == 0) std::this_thread::yield();
      continue;
    }
    int64_t began = team.claimed_[task].load(std::memory_order_relaxed);
    const int64_t now = now_ns();
    if (now - (began < opened ? opened : began) < patience) continue;
    if (team.claimed_[task].compare_exchange_strong(began, now, std::memory_order_relaxed)) return task;
  }
  return -1;
}

}  // namespace claprt
