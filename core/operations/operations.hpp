#pragma once

#include "core/operations/call_context.hpp"
#include "core/store/store.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/error.hpp>
#include <minions/types.hpp>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace minions::core {

class Operations;
class OperationContext;

/// What a client sent to have a repeated request answered with the first outcome.
struct Idempotency {
    std::string key;        ///< the header's value, 1 to 255 bytes
    std::string route;      ///< method and pattern: the same key may be used on another route
    std::string body_hash;  ///< of the request body, any digest in text
};

/// Which operation may end another on the same instance: a higher one cancels those below it, waits for their
/// rollback and runs; otherwise the newcomer is refused with `busy`, or joins one of its own kind if it has
/// asked for that.
enum class Rank { normal, forced_stop, destroy };

struct OperationRequest {
    std::string kind;
    std::string subject;
    std::string owner = "local";
    std::string stage;     ///< the first one
    std::string instance;  ///< id of the instance that it claims, or empty: excludes nobody
    Rank rank = Rank::normal;
    bool join = false;  ///< one of the same kind on the same instance is under way: return that one
    /// Whose threads do the work: a runtime's, by its name, or those of another kind of work. What hangs or
    /// waits long in one pool takes no thread from another.
    std::string pool;
    milliseconds timeout = std::chrono::minutes(5);
    std::optional<Idempotency> idempotency;
    /// Further rows for the commit that starts the operation; throwing refuses the operation. May run twice.
    /// Not called for a repeated request.
    std::function<void(Transaction&)> prepare;
    /// The work; its value is the result. Throwing makes it failed (or cancelled, for Code::cancelled); it
    /// must have undone its effects and the rows of `prepare` by then. May take some seconds beyond the
    /// deadline for that. Called also for an operation that was cancelled or timed out before it had a
    /// thread.
    std::function<Value(OperationContext&)> work;
    /// Further rows for the commit that finishes the operation; gets its final row. May run twice. After that
    /// commit its instances are free.
    std::function<void(Transaction&, const OperationRow&)> finished;
};

/// An operation, under way or finished. All methods: [any thread].
class Operation {
  public:
    /// One that is under way until `deadline`, or as its row says finished.
    explicit Operation(OperationRow row, SteadyTime deadline = SteadyTime::max());

    const std::string& id() const noexcept { return id_; }
    /// As GET /api/operations/{id} shows it now.
    OperationRow row() const;
    /// The last line of progress, empty if there was none; in memory only.
    std::string message() const;
    /// How far it is by its last word, without its stage; in memory only.
    Progress progress() const;
    bool finished() const;
    SteadyTime deadline() const noexcept { return deadline_; }

    /// Waits for the end, rollback included, and returns the result or throws the operation's error. Throws
    /// deadline with the operation's id in its details if `until` comes first, cancelled if `cancel_fd`
    /// becomes readable; the operation goes on in both cases.
    Value wait(SteadyTime until, int cancel_fd = -1) const;
    /// As above, for as long as the operation may take by its own deadline and a few seconds for rollback.
    Value wait(int cancel_fd = -1) const;

    /// Asks it to end and roll back; returns at once. The reason becomes the error's message, `code` its
    /// code.
    void cancel(std::string reason, Code code = Code::cancelled);
    /// Readable once finished. Not to be read or closed.
    int done_fd() const noexcept { return done_.fd(); }

  private:
    friend class Operations;
    friend class OperationContext;
    struct State {
        OperationRow row;
        std::string message;
        std::optional<std::int64_t> done;
        std::optional<std::int64_t> total;
        std::string cancel_reason;
        Code cancel_code = Code::cancelled;
        bool cancelled = false;
        bool timed_out = false;
        std::function<void()> waiting_work;  ///< while it waits for a thread: has another one do the work
    };
    /// Wakes the work, or gives it a thread at once if it has none yet: it is to end.
    void end_early(const State& state);

    std::string id_;
    SteadyTime deadline_;
    Sync<State> state_;
    EventFd cancel_;
    EventFd done_;
};
using OperationPtr = std::shared_ptr<Operation>;

/// What the work of an operation sees of it. Used by the thread that works and by threads that it waits for.
class OperationContext {
  public:
    OperationContext(Operations& operations, Operation& operation);
    OperationContext(const OperationContext&) = delete;
    OperationContext& operator=(const OperationContext&) = delete;

    const std::string& id() const noexcept { return operation_.id(); }
    SteadyTime deadline() const noexcept { return operation_.deadline(); }
    bool cancelled() const noexcept;
    int cancel_fd() const noexcept { return operation_.cancel_.fd(); }
    /// Throws Error{cancelled} (with the reason) or Error{deadline} if the work should not go on.
    void check() const;

    /// Commits the stage if it is another than before; throws what the store throws.
    void stage(std::string_view stage);
    /// As stage(), in a commit of the work's own.
    void stage_in(Transaction& transaction, std::string_view stage);
    /// Makes the operation succeeded in a commit of the work's own, so that what it has made and its outcome
    /// reach the disk together. Frees its instances; what the work returns or throws after that is ignored.
    void succeed_in(Transaction& transaction, Value result);
    /// As stage(), with a line for who waits; never throws.
    void progress(const Progress& progress) noexcept;

    /// The context of a call into a runtime about one instance, or about none (empty), that ends by the
    /// operation's deadline or `until`. `state_saved` is called after each save_state().
    CallContext call(std::string runtime, std::string instance,
                     std::function<void(const RuntimeState&)> state_saved = {},
                     SteadyTime until = SteadyTime::max());
    /// As call(), for undoing: neither cancellation nor the deadline of the operation end it, only `timeout`.
    CallContext rollback_call(std::string runtime, std::string instance,
                              milliseconds timeout = std::chrono::seconds(30));

    /// Claims a further instance for the rest of this operation (a deployment's). Throws busy.
    void claim(const std::string& instance);

    /// Lines that the runtime logged or reported in this operation, the newest last; bounded.
    std::vector<std::string> log_tail() const;

  private:
    void note(std::string_view line) noexcept;

    Operations& operations_;
    Operation& operation_;
    Sync<std::deque<std::string>> lines_;
};

struct OperationsOptions {
    /// At most, in each pool; further operations wait for one. As many again are kept for those that outrank
    /// others and for the rollback of those that are ended while they wait.
    std::size_t threads = 64;
    std::size_t finished_kept = 10000;  ///< rows of finished operations
    std::chrono::seconds idempotency_kept = std::chrono::hours(24);
};

/// Starts, runs, finds and ends operations. All methods: [any thread].
class Operations {
  public:
    explicit Operations(Store& store, OperationsOptions options = {});
    /// Cancels what runs and waits for it.
    ~Operations();
    Operations(const Operations&) = delete;
    Operations& operator=(const Operations&) = delete;

    /// Commits the operation with the rows of `prepare`, and hands its work to a thread. A request with an
    /// idempotency key that was used before returns that operation, under way or finished. Throws busy (with
    /// "operation" in the details), idempotency_mismatch, unavailable while draining, and what `prepare`
    /// throws.
    OperationPtr start(OperationRequest request);

    /// The operation that this key started before, if any; to be asked before anything that a repetition
    /// would fail. Throws idempotency_mismatch.
    OperationPtr repeated(const std::string& owner, const Idempotency& idempotency);
    /// What `begin` starts, or the operation that this key started before: also if that one came while
    /// `begin` found a reason to refuse it (its name is taken: by the first).
    template <class Begin>
    OperationPtr unless_repeated(const std::string& owner, const std::optional<Idempotency>& idempotency,
                                 Begin&& begin) {
        if (!idempotency) return begin();
        if (auto first = repeated(owner, *idempotency)) return first;
        try {
            return begin();
        } catch (const Error&) {
            if (auto first = repeated(owner, *idempotency)) return first;
            throw;
        }
    }

    /// Null if there is none, or none any more.
    OperationPtr find(const std::string& id);
    /// Newest first, those under way included, as find() shows them.
    std::vector<OperationRow> list(std::size_t limit);

    /// The operation that has the instance now; null if none.
    OperationPtr owner_of(const std::string& instance) const;

    /// Marks operations that a former daemon left running as failed. Once, before the first start().
    void fail_interrupted();

    /// What calls into runtimes offer from here on. Once, before the first of them.
    void offer(MakeVmServices services);
    /// The context of a call into a runtime, with what is offered. Also for calls outside of operations.
    CallContext call(CallOptions options) const;

    /// Refuses new operations, cancels those under way, and waits for them until then. True if none is left;
    /// what is left is resolved by the next start.
    bool drain(SteadyTime until);

  private:
    friend class OperationContext;
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace minions::core
