#pragma once

#include <minions/base/fd.hpp>
#include <minions/context.hpp>

#include <algorithm>

namespace minions::vmkit {

/// Another call's context that also ends when a descriptor becomes readable, or at an earlier time.
class Bounded final : public Context {
  public:
    /// `fd` is borrowed; -1: only the time. Throws std::system_error.
    Bounded(Context& outer, int fd, SteadyTime until = SteadyTime::max());

    SteadyTime deadline() const override { return deadline_; }
    bool cancelled() const noexcept override;
    int cancel_fd() const noexcept override { return both_ ? both_.get() : outer_.cancel_fd(); }
    void log(LogLevel level, std::string_view message) noexcept override { outer_.log(level, message); }
    void progress(const Progress& progress) override { outer_.progress(progress); }
    void save_state(const RuntimeState& state) override { outer_.save_state(state); }
    Journal& journal() override { return outer_.journal(); }
    Network& network() override { return outer_.network(); }
    Processes& processes() override { return outer_.processes(); }
    Images& images() override { return outer_.images(); }

  private:
    Context& outer_;
    SteadyTime deadline_;
    Fd both_;
};

/// The context of what a runtime does by itself: a deadline, and nothing that core offers.
class Alone final : public Context {
  public:
    explicit Alone(milliseconds limit) : deadline_(std::chrono::steady_clock::now() + limit) {}

    SteadyTime deadline() const override { return deadline_; }
    bool cancelled() const noexcept override { return false; }
    int cancel_fd() const noexcept override { return -1; }
    void log(LogLevel, std::string_view) noexcept override {}
    void progress(const Progress&) override {}
    void save_state(const RuntimeState&) override { refuse(); }
    Journal& journal() override { refuse(); }
    Network& network() override { refuse(); }
    Processes& processes() override { refuse(); }
    Images& images() override { refuse(); }

  private:
    [[noreturn]] static void refuse();
    SteadyTime deadline_;
};

}  // namespace minions::vmkit
