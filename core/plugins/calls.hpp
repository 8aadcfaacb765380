#pragma once

#include "core/plugins/transport.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/context.hpp>

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>

namespace minions::core {

/// One call into a plugin that is under way: where its reply lands, and the caller's Context for calls that
/// the plugin makes on its behalf. Shared by the caller, the transport and host calls. Thread-safe.
class PluginCall {
  public:
    explicit PluginCall(Context& context) { state_.lock()->context = &context; }

    /// The reply has come. Ignored (its descriptors closed) once the caller has left.
    void finish(Message reply);
    std::optional<Message> take_reply();
    /// Raised by finish().
    const EventFd& finished() const { return finished_; }

    /// The caller leaves: waits for host calls that use its Context now, and refuses later ones.
    void leave();

    /// The caller's Context, which stays valid while this lives. Throws cancelled when the caller has left.
    class Borrowed {
      public:
        explicit Borrowed(std::shared_ptr<PluginCall> call);
        Borrowed(const Borrowed&) = delete;
        Borrowed& operator=(const Borrowed&) = delete;
        ~Borrowed();
        Context& context() const { return *context_; }
        PluginCall& call() const { return *call_; }

      private:
        std::shared_ptr<PluginCall> call_;
        Context* context_ = nullptr;
    };

    /// Keeps an entry of the caller's journal for journal_held; returns its number.
    std::int64_t keep(std::unique_ptr<JournalEntry> entry);
    /// Throws not_found.
    void held(std::int64_t number);

    /// Whether the plugin has said that it knows the call which it is to cancel.
    std::atomic<bool> cancel_found = false;
    /// A cancel message is on its way.
    std::atomic<bool> cancel_sent = false;

  private:
    struct State {
        Context* context = nullptr;
        int users = 0;
        bool left = false;
        std::optional<Message> reply;
        std::map<std::int64_t, std::shared_ptr<JournalEntry>> entries;
    };
    Sync<State> state_;
    std::condition_variable unused_;
    EventFd finished_;
};

/// The calls under way into one plugin, by id. Thread-safe.
class PluginCalls {
  public:
    struct Entered {
        std::uint64_t id;
        std::shared_ptr<PluginCall> call;
    };
    Entered enter(Context& context);
    void remove(std::uint64_t id) { calls_.lock()->erase(id); }
    /// An id for a message that is no call of anybody (cancel).
    std::uint64_t next_id() { return ++last_id_; }
    /// Null when it is not under way.
    std::shared_ptr<PluginCall> find(std::uint64_t id) const;

  private:
    std::atomic<std::uint64_t> last_id_ = 0;
    Sync<std::unordered_map<std::uint64_t, std::shared_ptr<PluginCall>>> calls_;
};

}  // namespace minions::core
