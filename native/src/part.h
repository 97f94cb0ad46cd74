// One thread's part of a run, for kernels.h: its phases, its memory.

struct Target {
  void* at;
  size_t bytes;
};

// What one thread has of a run, and its way through the phases.
struct Part {
  Workspace& space;
  const Tower& tower;
  const Scratch& scratch;
  Team::Member member;

  Part(Workspace& shared, int worker)
      : space(shared), tower(*shared.tower), scratch(shared.scratch[worker]), member(shared.team->member(worker)) {}

  // One phase: compute(task, out) writes target(task).bytes to out, which is target(task).at or this thread's own memory.
  template <class Where, class Compute>
  void phase(int tasks, const Where& target, const Compute& compute) {
    if (member.alone) {
      for (int task = 0; task < tasks; ++task) compute(task, target(task).at);
      return;
    }
    if (!Team::enter(member)) return;
    const auto work = [&](int task) {
      compute(task, static_cast<void*>(scratch.own));
      if (!Team::may_publish(member, task)) return;
      const Target where = target(task);
      std::memcpy(where.at, scratch.own, where.bytes);
      Team::complete(member, task);
    };
    const int64_t begin = Team::now_ns();
    int own = 0;
    for (int task; (task = Team::claim(member, tasks)) >= 0; ++own) work(task);
    const int64_t taken = Team::now_ns() - begin;
    for (int task; (task = Team::overdue(member, tasks, taken, own)) >= 0;) work(task);
  }
};

// What the sections of a run (front.h, stages.h, head.h) have in common.
class Section {
 protected:
  explicit Section(Part& part) : part_(part), space_(part.space), tower_(part.tower), scratch_(part.scratch) {}

  template <class Where, class Compute>
  void phase(int tasks, const Where& target, const Compute& compute) {
    part_.phase(tasks, target, compute);
  }

  static size_t window_bytes(int channels) { return static_cast<size_t>(channels) * kTokens * sizeof(float); }

  float* window(int current, int channels, int index) const {
    return space_.tokens[current] + static_cast<size_t>(index) * channels * kTokens;
  }

  Part& part_;
  Workspace& space_;
  const Tower& tower_;
  const Scratch& scratch_;
};
