#include "core/instances/impl.hpp"
#include "core/store/ids.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <poll.h>

#include <algorithm>

namespace minions::core {

namespace {

constexpr std::size_t environment_bytes = std::size_t{128} << 10U;

void check_environment(const std::map<std::string, std::string>& environment) {
    std::size_t size = 0;
    for (const auto& [key, value] : environment) {
        const auto letter = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        };
        const bool good =
            !key.empty() && letter(key.front()) &&
            std::all_of(key.begin(), key.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
        if (!good)
            throw Error{Code::invalid, fmt::format("field 'environment' has the key '{}'", key),
                        "keys are letters, digits and '_', and do not start with a digit"};
        if (value.find('\0') != std::string::npos)
            throw Error{Code::invalid,
                        fmt::format("field 'environment.{}' has a NUL byte in its value", key)};
        size += key.size() + value.size() + 2;
    }
    if (size > environment_bytes)
        throw Error{Code::invalid, "field 'environment' is larger than 128 KiB in all",
                    "put large values into files"};
}

void check_spec(const InstanceSpec& spec, const RuntimeHandle& handle) {
    const auto need = [&](bool used, const char* feature, const char* field) {
        if (used && handle.features.find(feature) == handle.features.end())
            throw Error{Code::unsupported_by_runtime,
                        fmt::format("the runtime '{}' does not honour field '{}'", handle.name, field),
                        "leave it out, or name another runtime"};
    };
    need(spec.disk_gb.has_value(), "disk", "disk_gb");
    need(!spec.ports.empty(), "ports", "ports");
    if (spec.image.empty() && handle.kind == RuntimeKind::container)
        throw Error{Code::invalid, "field 'image' is missing",
                    fmt::format("name an image that the runtime '{}' has", handle.name)};
    for (const PortSpec& port : spec.ports)
        if (port.protocol != "tcp" && port.protocol != "udp")
            throw Error{Code::invalid, "field 'ports[].protocol' must be 'tcp' or 'udp'"};
    check_environment(spec.environment);
}

/// The instance between start() and its acknowledgement, as a hook sees it.
class Window final : public Unacknowledged {
  public:
    Window(Sync<Live>& live, OperationContext& context, const RuntimeHandle& handle, Instance instance,
           InstanceFacts facts)
        : live_(live),
          context_(context),
          handle_(handle),
          instance_(std::move(instance)),
          started_(std::move(facts)) {
        live_.lock()->waiting_for_facts[instance_.id].insert(&wake_);
    }
    ~Window() override {
        const auto now = live_.lock();
        auto& waiters = now->waiting_for_facts[instance_.id];
        waiters.erase(&wake_);
        if (waiters.empty()) now->waiting_for_facts.erase(instance_.id);
    }
    const Instance& instance() const override { return instance_; }
    const RuntimeHandle& runtime() const override { return handle_; }
    InstanceFacts facts() const override {
        const auto now = live_.lock();
        const auto held = now->held.find(instance_.id);
        const bool newer = held != now->held.end() && held->second.boot == instance_.boot;
        return newer && !is_end(started_.status) ? held->second.facts : started_;
    }
    bool wait_for_end(SteadyTime until) override {
        for (;;) {
            context_.check();
            wake_.clear();  // before the look: what comes after it wakes the poll
            const Status now = facts().status;
            if (now != Status::running && now != Status::paused) return true;
            pollfd fds[] = {{wake_.fd(), POLLIN, 0}, {context_.cancel_fd(), POLLIN, 0}};
            if (poll_until(fds, 2, until) == 0) return false;
        }
    }

  private:
    Sync<Live>& live_;
    OperationContext& context_;
    const RuntimeHandle& handle_;
    Instance instance_;
    InstanceFacts started_;
    EventFd wake_;
};

/// Records how long a step took, also when it throws.
class StepTimer {
  public:
    StepTimer(Steps& steps, std::string stage) : steps_(steps), began_(std::chrono::steady_clock::now()) {
        steps_.stage = std::move(stage);
    }
    ~StepTimer() {
        const auto took = std::chrono::steady_clock::now() - began_;
        steps_.timings.set(steps_.stage + "_ms", std::chrono::duration_cast<milliseconds>(took).count());
    }
    StepTimer(const StepTimer&) = delete;
    StepTimer& operator=(const StepTimer&) = delete;

  private:
    Steps& steps_;
    std::chrono::steady_clock::time_point began_;
};

}  // namespace

void Instances::Impl::require_free(const InstanceKey& key) const {
    if (table.find(key))
        throw Error{Code::conflict, fmt::format("VM '{}' already exists", key.name),
                    "choose another name, or destroy it first"};
}

Plan Instances::Impl::plan(CreateRequest request, CreateOptions create_options) const {
    check_name(request.name);
    const RuntimeHandle& handle =
        request.runtime.empty() ? runtimes.default_runtime() : runtimes.require(request.runtime);
    check_spec(request.spec, handle);
    if (handle.kind == RuntimeKind::vm && options.vm_image)
        request.spec.image = options.vm_image(request.spec.image);
    require_free({request.name, request.owner});
    Plan made;
    made.handle = &handle;
    made.options = std::move(create_options);
    made.row.id = new_id();
    made.row.owner = std::move(request.owner);
    made.row.name = std::move(request.name);
    made.row.runtime = handle.name;
    made.row.status = Status::creating;
    made.row.created_at = now_rfc3339();
    made.row.spec = std::move(request.spec);
    if (handle.kind == RuntimeKind::vm) {
        if (!made.row.spec.cpus) made.row.spec.cpus = 2;
        if (!made.row.spec.memory_mb) made.row.spec.memory_mb = 1024;
    }
    return made;
}

/// Everything but its life.
void Instances::Impl::make(OperationContext& context, const Plan& made, Steps& steps) {
    const std::string& id = made.row.id;
    RuntimeState state;
    context.check();
    {
        const StepTimer timer(steps, "creating");
        const InstanceViewPtr view = need(id);
        auto context_of_call = call(context, view);
        state = made.source.empty() ? made.handle->runtime->create(context_of_call, view->instance())
                                    : made.handle->copy->copy(context_of_call, view->instance(),
                                                              need(made.source)->instance());
        steps.made = true;
        MINIONS_FAILPOINT("instance.create.after");
    }
    context.check();
    store.transact([&](Transaction& transaction) {
        if (made.starts) {
            change_in(transaction, id, [](InstanceRow& row) { ++row.boot; });
            context.stage_in(transaction, "starting");
        }
        transaction.update_instance_state(id, state);
        transaction.after_commit([&] { table.set_state(id, state); });
    });
}

/// What is known of it before it is acknowledged.
InstanceFacts Instances::Impl::first_life(OperationContext& context, const Plan& made, Steps& steps) {
    const StepTimer timer(steps, "starting");
    const InstanceViewPtr view = need(made.row.id);
    auto context_of_call = call(context, view);
    Runtime& runtime = *made.handle->runtime;
    MINIONS_FAILPOINT("instance.start.before");
    return made.starts ? runtime.start(context_of_call, view->instance())
                       : runtime.inspect(context_of_call, view->instance());
}

InstanceViewPtr Instances::Impl::bring_up(OperationContext& context, const Plan& made, Steps& steps) {
    const std::string& id = made.row.id;
    make(context, made, steps);
    InstanceFacts facts = first_life(context, made, steps);
    MINIONS_FAILPOINT("instance.start.after");
    if (made.options.before_acknowledge) {
        const StepTimer timer(steps, "checking");
        Window window(live, context, *made.handle, need(id)->instance(), facts);
        made.options.before_acknowledge(context, window);
        facts = window.facts();
    }
    context.check();
    if (facts.status == Status::error || (is_end(facts.status) && !made.options.may_end))
        throw Error{
            Code::failed,
            fmt::format("VM '{}' ended at once: {}", made.row.name,
                        facts.reason.value_or(facts.exit_code ? fmt::format("exit code {}", *facts.exit_code)
                                                              : "its runtime gives no reason"))};
    if (facts.status != Status::running && facts.status != Status::paused && !is_end(facts.status))
        throw Error{Code::internal, fmt::format("the runtime '{}' started VM '{}' and says that it is {}",
                                                made.handle->name, made.row.name, word_of(facts.status))};
    MINIONS_FAILPOINT("instance.acknowledge.before");
    return settle(id, facts, [&](Transaction& transaction, const InstanceRow& row) {
        transaction.event("instance.created", row.name, Value::object({{"id", row.id}, {"name", row.name}}));
        transaction.delete_diagnosis(row.owner, row.name);
        if (made.options.acknowledged) made.options.acknowledged(transaction, row);
        if (made.whole) context.succeed_in(transaction, view_document(*show(row)));
    });
}

void Instances::Impl::abandon(OperationContext& context, const Plan& made, Steps& steps,
                              const Error& failure) {
    const InstanceViewPtr view = table.find(made.row.id);
    if (!view) return;
    if (steps.made) steps.log_tail = read_log_tail(context, *made.handle, view->instance());
    if (steps.log_tail.empty()) steps.log_tail = context.log_tail();
    const Value document = Value::object({{"id", made.row.id},
                                          {"operation", context.id()},
                                          {"runtime", made.row.runtime},
                                          {"stage", steps.stage},
                                          {"error", encode_error(failure)},
                                          {"timings", steps.timings},
                                          {"log_tail", encode(steps.log_tail)}});
    const auto record = [&](Transaction& transaction, const InstanceRow& row) {
        transaction.put_diagnosis({row.owner, row.name, now_rfc3339(), document});
    };
    try {
        if (made.options.undoing)
            store.transact(
                [&](Transaction& transaction) { made.options.undoing(transaction, view->row, failure); });
        MINIONS_FAILPOINT("instance.rollback.before");
        undo(context, *made.handle, view->instance(), true);
        MINIONS_FAILPOINT("instance.rollback.after");
        remove(made.row.id, "instance.create_failed",
               Value::object({{"id", made.row.id},
                              {"name", made.row.name},
                              {"stage", steps.stage},
                              {"error", failure.message()}}),
               record);
    } catch (...) {
        const Error undone = current_error();
        // Its rows stay: it is destroyed when the runtime is back, at the next start, or on request.
        change(
            made.row.id,
            [&](InstanceRow& row) {
                row.status = Status::destroying;
                row.facts.reason =
                    fmt::format("its create failed, and its rollback too: {}", undone.message());
            },
            {}, record);
    }
}

InstanceViewPtr Instances::Impl::run_create(OperationContext& context, const Plan& made) {
    Steps steps;
    try {
        return bring_up(context, made, steps);
    } catch (...) {
        const Error failure = current_error();
        try {
            abandon(context, made, steps, failure);
        } catch (
            const Error&) {  // the store failed; the row is still `creating` and the next start undoes it
        }
        throw failure;
    }
}

/// A create that is not what its operation began with.
InstanceViewPtr Instances::Impl::create_claimed(OperationContext& context, const Plan& made) {
    context.claim(made.row.id);
    context.check();
    store.transact([&](Transaction& transaction) { insert(transaction, made); });
    return run_create(context, made);
}

OperationPtr Instances::create(CreateRequest request, CreateOptions options, ChangeOptions change) {
    return impl_->operations.unless_repeated(request.owner, change.idempotency, [&] {
        Plan made = impl_->plan(request, options);
        made.whole = true;
        const auto plan = std::make_shared<const Plan>(std::move(made));
        OperationRequest operation;
        operation.kind = "instance.create";
        operation.subject = plan->row.name;
        operation.owner = plan->row.owner;
        operation.stage = "creating";
        operation.instance = plan->row.id;
        operation.pool = plan->row.runtime;
        operation.timeout = change.timeout.value_or(impl_->options.create_timeout);
        operation.idempotency = change.idempotency;
        operation.prepare = [impl = impl_.get(), plan](Transaction& transaction) {
            impl->insert(transaction, *plan);
        };
        operation.work = [impl = impl_.get(), plan](OperationContext& context) {
            return view_document(*impl->run_create(context, *plan));
        };
        operation.finished = impl_->undo_ended_life(plan->row.id);
        return impl_->operations.start(std::move(operation));
    });
}

InstanceViewPtr Instances::create_within(OperationContext& context, CreateRequest request,
                                         CreateOptions options) {
    return impl_->create_claimed(context, impl_->plan(std::move(request), std::move(options)));
}

}  // namespace minions::core
