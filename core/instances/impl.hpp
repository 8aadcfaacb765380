#pragma once

#include "core/instances/instances.hpp"
#include "core/instances/table.hpp"
#include "core/operations/pool.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <set>

/// Inside of core/instances only.
namespace minions::core {

/// A create that has passed every check.
struct Plan {
    InstanceRow row;
    const RuntimeHandle* handle = nullptr;
    CreateOptions options;
    bool whole = false;  ///< the operation is this create alone: its acknowledgement is the outcome
    std::string source;  ///< id of the instance that it is a copy of, or empty
    bool starts = true;  ///< else it is created stopped: as a copy of what does not run
};

/// How far a create came, for its diagnosis.
struct Steps {
    std::string stage = "creating";
    Value timings = Value::object();
    bool made = false;  ///< create() of the runtime has returned
    std::vector<std::string> log_tail;
};

/// What a change ends with: the instance's document, unless it has a result of its own.
struct Outcome {
    // What nearly every change returns.
    Outcome(const InstanceViewPtr& view)  // NOLINT(google-explicit-constructor)
        : result(view_document(*view)) {}
    explicit Outcome(Value own) : result(std::move(own)) {}
    Value result;
};

/// When a destroy that failed is tried again.
struct Retry {
    SteadyTime next{};
    milliseconds pause{0};
};

/// What is known beside the rows.
struct Live {
    std::map<std::string, HeldBack> held;                         ///< by instance
    std::map<std::string, std::string> awaiting;                  ///< instances not heard of → why
    std::map<std::string, std::set<EventFd*>> waiting_for_facts;  ///< by instance
    std::map<std::string, Retry> retries;                         ///< by instance
    std::map<std::string, Health> health;                         ///< by runtime, as the views show it
    std::map<std::string, bool> recovered;  ///< runtimes: whether the start has asked them
    std::set<std::string> lost;             ///< runtimes that went away and have not been asked since
    std::set<std::string> finishing;        ///< runtimes for which finish() is under way
};

/// What was begun and not ended with one runtime.
struct Unfinished {
    std::vector<InstanceViewPtr> destroying;  ///< and no operation is at it
    std::vector<InstanceViewPtr> unsettled;   ///< see Impl::unsettled()
    std::vector<JournalRecord> orphans;
};

struct Instances::Impl {
    using Edit = std::function<void(InstanceRow&)>;
    using More = std::function<void(Transaction&, const InstanceRow&)>;

    Impl(Store& store_in, Events& events_in, Operations& operations_in, Runtimes& runtimes_in,
         InstancesOptions options_in);
    ~Impl();

    // commits.cpp: the only code that changes rows and views.
    std::string unknown_because(const std::string& runtime) const;
    InstanceViewPtr show(const InstanceRow& row) const;
    /// Null if the instance is gone. An empty type becomes instance.<status>, or instance.changed. At most
    /// once for an instance in a transaction. `heard`: the row has what the runtime says, so that nothing
    /// more is awaited.
    InstanceViewPtr change_in(Transaction& transaction, const std::string& id, const Edit& edit,
                              std::string_view type = {}, bool heard = false);
    InstanceViewPtr change(const std::string& id, const Edit& edit, std::string_view type = {},
                           const More& more = {});
    /// What a runtime's call returned, unless the runtime reported this life's end meanwhile.
    void take(InstanceRow& row, const InstanceFacts& facts) const;
    /// The end of a change: take() of what the runtime returned.
    InstanceViewPtr settle(const std::string& id, const InstanceFacts& facts, const More& more = {});
    void insert(Transaction& transaction, const Plan& plan);
    void remove(const std::string& id, std::string_view type, Value data, const More& more = {});
    /// Whether it has to be asked how the instance is, or waited until it is said: nobody has been heard, or
    /// a change ended without a word on what holds. What core itself makes or removes never is.
    bool unsettled(const InstanceView& view) const;
    void report(std::string_view runtime, const InstanceEvent& event);
    void apply(Transaction& transaction, const InstanceViewPtr& view, const InstanceFacts& facts);
    void undo_life(const InstanceRow& row) noexcept;
    /// For an operation's `finished`: undo_life() of the instance if it has ended by then.
    std::function<void(Transaction&, const OperationRow&)> undo_ended_life(const std::string& id);
    void show_health(const std::string& runtime, const Health& health);
    void lose(const InstanceRow& row);

    // undo.cpp
    const RuntimeHandle& handle_of(const InstanceRow& row) const;
    const RuntimeHandle& healthy_handle_of(const InstanceRow& row) const;
    void undo(OperationContext& context, const RuntimeHandle& handle, const Instance& instance,
              bool rollback);
    void run_destroy(OperationContext& context, const std::string& id);
    OperationPtr start_destroy(const InstanceViewPtr& view, ChangeOptions options);
    std::vector<std::string> read_log_tail(OperationContext& context, const RuntimeHandle& handle,
                                           const Instance& instance);

    // create.cpp
    Plan plan(CreateRequest request, CreateOptions create_options) const;
    Plan plan_copy(const InstanceKey& source, const std::string& new_name) const;
    void require_free(const InstanceKey& key) const;
    InstanceViewPtr run_create(OperationContext& context, const Plan& made);
    InstanceViewPtr create_claimed(OperationContext& context, const Plan& made);
    void make(OperationContext& context, const Plan& made, Steps& steps);
    InstanceFacts first_life(OperationContext& context, const Plan& made, Steps& steps);
    InstanceViewPtr bring_up(OperationContext& context, const Plan& made, Steps& steps);
    void abandon(OperationContext& context, const Plan& made, Steps& steps, const Error& failure);

    // changes.cpp
    InstanceViewPtr need(const InstanceKey& key) const;
    InstanceViewPtr need(const std::string& id) const;
    using Work = std::function<Outcome(OperationContext&, const InstanceViewPtr&)>;
    OperationPtr start_change(const InstanceKey& key, Action action, std::string kind, ChangeOptions options,
                              Work work, std::optional<Status> transition = std::nullopt);
    OperationRequest change_request(const InstanceKey& key, Action action, std::string kind,
                                    ChangeOptions options, Work work, std::optional<Status> transition);
    void resolve(OperationContext& context, const std::string& id, const Error& failure);
    CallContext call(OperationContext& context, const InstanceViewPtr& view);
    InstanceViewPtr run_start(OperationContext& context, const InstanceViewPtr& view);
    InstanceViewPtr run_stop(OperationContext& context, const InstanceViewPtr& view, const StopOptions& stop);

    // recovery.cpp
    void recover_all();
    void recover_runtime(const std::string& runtime);
    void health_checked(const std::string& runtime);
    void finish(const RuntimeHandle& handle, bool ask);
    bool destroy_is_due(const std::string& id);
    Unfinished unfinished(const std::string& runtime);
    void release_orphans(const RuntimeHandle& handle, const std::vector<JournalRecord>& orphans);
    void release_own_orphans() noexcept;
    /// How the runtime is asked for one instance; nullopt: it will report.
    using Ask = std::function<std::optional<InstanceFacts>(Context&, const Instance&)>;
    void ask_each(const RuntimeHandle& handle, const std::vector<InstanceViewPtr>& views,
                  milliseconds timeout, const Ask& ask);
    using Told = std::vector<std::pair<std::string, InstanceFacts>>;
    void take_answers(const Told& told);
    CallContext background_call(const std::string& runtime, const std::string& instance,
                                milliseconds timeout);

    Store& store;
    Events& events;
    Operations& operations;
    Runtimes& runtimes;
    const InstancesOptions options;
    InstanceTable table;
    Sync<Live> live;
    std::condition_variable recovered;
    EventFd stopping;
    Pool background{32};  ///< last member: its threads end before what they use
};

/// Throws unsupported_by_runtime where the runtime does not have it.
template <class Facet>
Facet& need_facet(Facet* facet, const RuntimeHandle& handle) {
    if (facet == nullptr)
        throw Error{Code::unsupported_by_runtime,
                    fmt::format("the runtime '{}' cannot {}", handle.name, Facet::facet),
                    "use an instance of a runtime that has this facet (GET /api/plugins)"};
    return *facet;
}

inline bool is_end(Status status) { return status == Status::stopped || status == Status::error; }

/// Copies what the runtime says into the row.
inline void apply_facts(InstanceRow& row, const InstanceFacts& facts) {
    row.facts = facts;
    const Status said = facts.status;
    if (said == Status::running || said == Status::paused || is_end(said)) row.status = said;
}

}  // namespace minions::core
