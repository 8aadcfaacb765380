#pragma once

#include <minions/base/sync.hpp>

#include <condition_variable>
#include <utility>

namespace minions::core {

/// Lets threads that nobody here controls, a plugin's, into something that has a beginning and an end. Closed
/// at first. [any thread]
class Gate {
  public:
    void open() { state_.lock()->open = true; }

    /// Turns away whoever comes from now on, and waits for those inside. Not from inside.
    void close() {
        auto state = state_.lock();
        state->open = false;
        state.wait(left_, [](const State& now) { return now.inside == 0; });
    }

    /// Runs `work`, or nothing where it is closed.
    template <class Work>
    void pass(Work&& work) {
        {
            const auto state = state_.lock();
            if (!state->open) return;
            ++state->inside;
        }
        const Leave leave{*this};
        std::forward<Work>(work)();
    }

  private:
    struct State {
        bool open = false;
        int inside = 0;
    };
    struct Leave {
        Gate& gate;
        ~Leave() {
            const auto state = gate.state_.lock();
            if (--state->inside == 0) gate.left_.notify_all();
        }
    };

    Sync<State> state_;
    std::condition_variable left_;
};

}  // namespace minions::core
