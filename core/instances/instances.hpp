#pragma once

#include "core/events/events.hpp"
#include "core/instances/states.hpp"
#include "core/instances/view.hpp"
#include "core/operations/operations.hpp"
#include "core/plugins/runtimes.hpp"
#include "core/store/store.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// Which instance. The same not_found for what is absent and what is another owner's.
struct InstanceKey {
    std::string name;
    std::string owner = "local";
};

/// Bounds of a call that is no operation.
struct CallLimits {
    SteadyTime deadline = SteadyTime::max();
    int cancel_fd = -1;  ///< borrowed; readable ends the call
};

/// What holds for every change: how long it may take and how it is repeated.
struct ChangeOptions {
    std::optional<milliseconds> timeout;  ///< default: InstancesOptions::change_timeout
    std::optional<Idempotency> idempotency;
};

struct CreateRequest {
    std::string name;
    std::string owner = "local";
    std::string runtime;  ///< empty: Runtimes::default_runtime()
    InstanceSpec spec;
};

/// The instance of a create between its first life and its acknowledgement.
class Unacknowledged {
  public:
    virtual ~Unacknowledged() = default;
    /// For calls into the runtime (logs, inspect).
    virtual const Instance& instance() const = 0;
    virtual const RuntimeHandle& runtime() const = 0;
    /// What is known of it now: what start() returned, or what the runtime reported since.
    virtual InstanceFacts facts() const = 0;
    /// Waits until facts().status is neither running nor paused. False if `until` comes first. Throws
    /// cancelled, deadline as OperationContext::check().
    virtual bool wait_for_end(SteadyTime until) = 0;
};

struct CreateOptions {
    /// Called after start() with the instance still `creating`; throwing rolls the create back. For a
    /// deployment's start window.
    std::function<void(OperationContext&, Unacknowledged&)> before_acknowledge;
    /// Rows for the commit that inserts the instance, and for the one that acknowledges it. May run twice.
    std::function<void(Transaction&, const InstanceRow&)> inserted;
    std::function<void(Transaction&, const InstanceRow&)> acknowledged;
    /// Rows for a commit before a create that failed is undone: what they take away from the instance
    /// outlives it. May run twice.
    std::function<void(Transaction&, const InstanceRow&, const Error&)> undoing;
    /// A container that has ended within start() or the hook counts as created (status `stopped`) instead of
    /// failing the create.
    bool may_end = true;
};

struct StopOptions {
    bool force = false;  ///< kills at once, and ends whatever operation is under way
    milliseconds grace = std::chrono::seconds(30);
};

struct ListQuery {
    std::string owner = "local";
    std::vector<std::pair<std::string, std::string>> labels;  ///< all of them must match
    std::optional<Status> status;
    std::optional<std::string> runtime;
    std::optional<std::size_t> limit;   ///< 1 to 1000
    std::optional<std::string> cursor;  ///< from a former page
};

struct ListPage {
    std::shared_ptr<const std::string> body;  ///< a JSON array
    std::optional<std::string> next;          ///< the cursor of the next page
};

struct InstancesOptions {
    milliseconds create_timeout = std::chrono::minutes(5);
    milliseconds change_timeout = std::chrono::minutes(2);
    milliseconds destroy_timeout = std::chrono::minutes(2);
    std::size_t recovery_threads = 4;  ///< for each runtime
    /// The image that a VM gets whose spec names this one, '' for none. Throws invalid for what is no image.
    /// Empty: whatever is named is left to the runtime.
    std::function<std::string(const std::string&)> vm_image;
};

/// The instances of all runtimes: the only place that changes them. Reads come from memory and never wait for
/// an operation, a runtime or the disk. All methods: [any thread].
///
/// Changes return their operation; Operation::wait() gives the result, the instance's document (for a destroy
/// {"message": "VM 'x' destroyed"}, for a snapshot its SnapshotInfo). They throw at once, without an
/// operation: invalid, not_found, conflict, wrong_state, busy, unsupported_by_runtime, unavailable,
/// idempotency_mismatch.
class Instances {
  public:
    /// Loads what is stored; shows everything as `unknown` until start() has heard from the runtimes.
    Instances(Store& store, Events& events, Operations& operations, Runtimes& runtimes,
              InstancesOptions options = {});
    /// Ends and joins its own threads. Drain the operations first.
    ~Instances();
    Instances(const Instances&) = delete;
    Instances& operator=(const Instances&) = delete;

    /// Reconciles what is stored with the truth: hands each instance to its runtime's recover(), then calls
    /// recovered(), every runtime on threads of its own; rolls back what was `creating`, finishes what was
    /// `destroying`, undoes journal rows that nothing owns. Returns at once. Call once.
    void start();
    /// Waits until start() has asked every runtime once. For tests and the ready line.
    bool wait_recovered(SteadyTime until);

    // Reads.
    /// Throws not_found: "VM 'x' not found".
    InstanceViewPtr get(const InstanceKey& key) const;
    /// Null if there is none.
    InstanceViewPtr find(std::string_view id) const;
    ListPage list(const ListQuery& query) const;
    /// The views that the query selects, without paging; ordered by created_at, then id.
    std::vector<InstanceViewPtr> views(const ListQuery& query) const;
    /// Counts by status shown and runtime, for metrics.
    std::map<std::pair<std::string, Status>, std::size_t> counts() const;
    /// Why the last create of that name failed. Throws not_found.
    Value diagnosis(const InstanceKey& key) const;

    // Changes.
    OperationPtr create(CreateRequest request, CreateOptions options = {}, ChangeOptions change = {});
    /// A create as a part of another operation (a deployment): claims the instance for it, runs on the
    /// caller's thread, and has rolled back if it throws. `failed` and other errors of the runtime keep their
    /// details.
    InstanceViewPtr create_within(OperationContext& context, CreateRequest request,
                                  CreateOptions options = {});
    OperationPtr start(const InstanceKey& key, ChangeOptions change = {});
    OperationPtr stop(const InstanceKey& key, StopOptions stop = {}, ChangeOptions change = {});
    OperationPtr restart(const InstanceKey& key, StopOptions stop = {}, ChangeOptions change = {});
    OperationPtr pause(const InstanceKey& key, ChangeOptions change = {});
    OperationPtr resume(const InstanceKey& key, ChangeOptions change = {});
    OperationPtr resize(const InstanceKey& key, ResizeSpec spec, ChangeOptions change = {});
    OperationPtr rename(const InstanceKey& key, std::string new_name, ChangeOptions change = {});
    /// Makes another instance with its spec and its disk as it is now. Published ports get other numbers on
    /// the host. The copy of what is running or paused runs, that of what is stopped is stopped. Holds both
    /// instances.
    OperationPtr copy(const InstanceKey& key, std::string new_name, ChangeOptions change = {});
    /// Whatever state it is in. If the runtime is away the instance stays `destroying`, the operation fails
    /// with `unavailable`, and the destroy is completed when the runtime is back, or by a repetition.
    OperationPtr destroy(const InstanceKey& key, ChangeOptions change = {});
    /// Stop and destroy as parts of another operation, which has claimed the instance; on the caller's
    /// thread.
    void stop_within(OperationContext& context, const std::string& id, StopOptions stop);
    void destroy_within(OperationContext& context, const std::string& id);
    OperationPtr create_snapshot(const InstanceKey& key, SnapshotSpec spec, ChangeOptions change = {});
    OperationPtr restore_snapshot(const InstanceKey& key, std::string snapshot, ChangeOptions change = {});
    OperationPtr delete_snapshot(const InstanceKey& key, std::string snapshot, ChangeOptions change = {});

    // Calls that are no change: on the caller's thread, never waiting for operations. They throw not_found,
    // unsupported_by_runtime, wrong_state, unavailable, and what the runtime throws.
    ExecEnd exec(const InstanceKey& key, const ExecSpec& spec, ExecStreams streams, CallLimits limits);
    /// Throws what exec() throws before it asks the runtime.
    void check_exec(const InstanceKey& key) const;
    void logs(const InstanceKey& key, const LogsSpec& spec, Fd out, CallLimits limits);
    void read_files(const InstanceKey& key, const std::string& path, Fd out, CallLimits limits);
    void write_files(const InstanceKey& key, const std::string& path, Fd in, CallLimits limits);
    Fd forward(const InstanceKey& key, int port, CallLimits limits);
    Stats stats(const InstanceKey& key, CallLimits limits);
    std::vector<SnapshotInfo> snapshots(const InstanceKey& key, CallLimits limits);
    /// Asks the runtime, and applies what it says.
    InstanceFacts inspect(const InstanceKey& key, CallLimits limits);

    // What the plugin host calls.
    /// Host::report() of that runtime.
    void report(std::string_view runtime, const InstanceEvent& event) noexcept;
    /// To be called after each look at a runtime's health. If it is another than before, a `runtime.health`
    /// event is committed, and its instances become `unknown` or are asked for. While it is healthy, what was
    /// begun and not ended goes on: destroys that failed (after pauses that grow), journal rows that nobody
    /// else undoes, instances of which it is not known how they are.
    void health_checked(std::string_view runtime) noexcept;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace minions::core
