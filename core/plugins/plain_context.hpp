#pragma once

#include <minions/base/event_fd.hpp>
#include <minions/context.hpp>

namespace minions::core {

/// A call that belongs to no operation: a deadline, a flag, and no services (asking for them throws
/// unavailable).
class PlainContext : public Context, protected Journal {
  public:
    explicit PlainContext(SteadyTime deadline = SteadyTime::max()) : deadline_(deadline) {}

    /// [any thread]
    void cancel() noexcept { cancel_.raise(); }

    SteadyTime deadline() const override { return deadline_; }
    bool cancelled() const noexcept override;
    int cancel_fd() const noexcept override { return cancel_.fd(); }
    void log(LogLevel, std::string_view) noexcept override {}
    void progress(const Progress&) override {}
    void save_state(const RuntimeState&) override {}
    Journal& journal() override { return *this; }
    Network& network() override;
    Processes& processes() override;
    Images& images() override;

  private:
    std::unique_ptr<JournalEntry> intend(std::string_view kind, std::string_view key) override;
    void gone(std::string_view, std::string_view) override {}

    SteadyTime deadline_;
    EventFd cancel_;
};

}  // namespace minions::core
