#pragma once

#include "core/plugins/transport.hpp"

#include <minions/base/sync.hpp>

#include <condition_variable>
#include <memory>

namespace minions::core {

/// The way into core for a plugin's calls, until its transport ends. Thread-safe.
class HostGate {
  public:
    explicit HostGate(HostHandler handler);

    /// What the handler answers; `unavailable` once closed.
    Message serve(std::uint64_t serves, std::string_view text, std::vector<Fd> fds);

    /// Turns later calls away, and waits a moment for those under way. One that hangs beyond that keeps the
    /// handler, with all that it owns, until it returns.
    void close();

  private:
    struct State {
        std::shared_ptr<const HostHandler> handler;  // null: closed
        int inside = 0;
    };
    Sync<State> state_;
    std::condition_variable left_;
};

}  // namespace minions::core
