#pragma once

#include "host_link.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/context.hpp>

#include <atomic>
#include <memory>

namespace minions::detail {

/// The Context of one call into the plugin: a deadline, a flag, and the host services under the call's id.
class CallContext final : public Context,
                          private Journal,
                          private Network,
                          private Processes,
                          private Images {
  public:
    CallContext(const HostLink& link, std::uint64_t id, SteadyTime deadline)
        : link_(link), id_(id), deadline_(deadline) {}

    /// From the thread that brings the cancel message.
    void cancel() noexcept;

    SteadyTime deadline() const override { return deadline_; }
    bool cancelled() const noexcept override { return cancelled_; }
    int cancel_fd() const noexcept override;

    void log(LogLevel level, std::string_view message) noexcept override { link_.log(id_, level, message); }
    void progress(const Progress& progress) override;
    void save_state(const RuntimeState& state) override;
    Journal& journal() override { return *this; }
    Network& network() override { return *this; }
    Processes& processes() override { return *this; }
    Images& images() override { return *this; }

  private:
    std::unique_ptr<JournalEntry> intend(std::string_view kind, std::string_view key) override;
    void gone(std::string_view kind, std::string_view key) override;
    NetworkAttachment attach() override;
    void detach() override;
    ProcessHome home() override;
    SupervisedProcess start(const ProcessSpec& spec, std::vector<Fd> pass) override;
    std::optional<SupervisedProcess> find(std::string_view role) override;
    void kill(std::string_view role) override;
    VmImage acquire(const std::string& name) override;

    const HostLink& link_;
    std::uint64_t id_;
    SteadyTime deadline_;
    std::atomic<bool> cancelled_ = false;
    // Made when first asked for: most calls never poll.
    mutable Sync<std::unique_ptr<EventFd>> event_;
};

}  // namespace minions::detail
