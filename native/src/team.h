// Threads that share the tasks of one call.
//
// A run is a row of phases, a phase a set of tasks that do not depend on each other. All threads execute the same code and
// claim tasks; whoever finds that all tasks of a phase are complete opens the next one. A thread that loses its core in the
// middle of a task, be it the caller's or a helper's, holds up nobody: everybody computes into memory of their own and publishes
// a finished task by copying it, and a task that takes longer than such tasks should is done again by another thread. The
// first result is taken, others are thrown away. So a result does not depend on who computed it, and a thread that comes back
// late, a helper even in a later run, changes nothing. A thread is waited for only while it copies. A caller that may run on one
// core alone works alone.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "tower.h"

namespace claprt {

class Team {
 public:
  static constexpr int kMostTasks = 64;

  explicit Team(int threads, RunTower run, void* argument);  // throws std::system_error where no thread can be had
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // Runs on all threads and returns when the caller's part is complete. All members of the run see the flag.
  void call(bool flag);

  // One thread's way through a run.
  struct Member {
    Team* team;
    int worker;
    uint64_t phase;
    bool flag;
    bool alone;  // no helper has a part in the run
  };
  Member member(int worker) const;

  int threads() const { return threads_; }

  // Goes to the next phase, whose predecessor the member has left by `overdue`; false if it is over.
  static bool enter(Member& member);
  // All of these are for the phase that the member is in.
  static int claim(const Member& member, int tasks);  // -1 if none is left
  static bool may_publish(const Member& member, int task);
  static void complete(const Member& member, int task);
  // The wait for all: -1 if all tasks are complete or the phase is over, else a task to do again.
  static int overdue(const Member& member, int tasks, int64_t own_ns, int own_tasks);

  static int64_t now_ns();

 private:
  // The phase before the first of a run is a multiple of kPhases, plus kFlag: so a helper that is late cannot take one
  // run's flag for another's. A run has fewer than kFlag phases.
  static constexpr uint64_t kPhases = 1024, kFlag = 512;
  enum State : uint64_t { kPublishing = 1, kComplete = 2 };

  void end();
  void help(int worker);
  bool steer();

  const int threads_;
  const RunTower run_;
  void* const argument_;
  alignas(64) std::atomic<uint64_t> started_{0};  // the phase before the first of the newest run
  alignas(64) std::atomic<uint64_t> claims_{0};   // phase << 16 | next task
  alignas(64) std::atomic<uint64_t> state_[kMostTasks];  // phase << 2 | State, of the last phase that had the task
  std::atomic<int64_t> claimed_[kMostTasks];      // when somebody last began it
  std::atomic<int64_t> opened_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<int> asleep_{0};
  std::atomic<bool> stop_{false};
  std::thread helpers_[kMostThreads];
  int helping_ = 0;
  bool flag_ = false, alone_ = false;  // of the caller's run
#if defined(__linux__)
  cpu_set_t helpers_may_{};  // where helpers may run
#endif
};

}  // namespace claprt
