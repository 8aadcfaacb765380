#include "core/instances/impl.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

namespace minions::core {

InstanceViewPtr Instances::Impl::need(const InstanceKey& key) const {
    auto view = table.find(key);
    if (!view) throw Error{Code::not_found, fmt::format("VM '{}' not found", key.name)};
    return view;
}

InstanceViewPtr Instances::Impl::need(const std::string& id) const {
    auto view = table.find(id);
    if (!view) throw Error{Code::not_found, fmt::format("the VM with id {} is gone", id)};
    return view;
}

CallContext Instances::Impl::call(OperationContext& context, const InstanceViewPtr& view) {
    const std::string& id = view->row.id;
    return context.call(view->row.runtime, id,
                        [this, id](const RuntimeState& state) { table.set_state(id, state); });
}

/// Starts an operation that needs the instance in a status that allows `action`, and puts it into
/// `transition` with the commit that starts the operation.
OperationPtr Instances::Impl::start_change(const InstanceKey& key, Action action, std::string kind,
                                           ChangeOptions change_options, Work work,
                                           std::optional<Status> transition) {
    return operations.unless_repeated(key.owner, change_options.idempotency, [&] {
        return operations.start(
            change_request(key, action, std::move(kind), change_options, std::move(work), transition));
    });
}

OperationRequest Instances::Impl::change_request(const InstanceKey& key, Action action, std::string kind,
                                                 ChangeOptions change_options, Work work,
                                                 std::optional<Status> transition) {
    const InstanceViewPtr before = need(key);
    const std::string id = before->row.id;
    const bool forced = action == Action::force_stop;
    OperationRequest request;
    request.kind = std::move(kind);
    request.subject = key.name;
    request.owner = key.owner;
    request.stage = transition ? std::string(word_of(*transition)) : request.kind.substr(9);
    request.instance = id;
    request.pool = before->row.runtime;
    request.rank = forced ? Rank::forced_stop : Rank::normal;
    request.join = forced;
    request.timeout = change_options.timeout.value_or(options.change_timeout);
    request.idempotency = std::move(change_options.idempotency);
    request.prepare = [this, id, action, transition](Transaction& transaction) {
        const InstanceViewPtr view = need(id);
        require_allowed(action, view->status, view->row.name, view->reason);
        healthy_handle_of(view->row);
        if (!transition) return;
        change_in(transaction, id, [&](InstanceRow& row) {
            row.status = *transition;
            row.facts.reason.reset();
            if (*transition == Status::starting) ++row.boot;
        });
    };
    request.work = [this, id, work = std::move(work)](OperationContext& context) {
        const InstanceViewPtr view = need(id);
        try {
            context.check();
            return work(context, view).result;
        } catch (...) {
            Error failure = current_error();
            resolve(context, id, failure);
            throw failure;
        }
    };
    request.finished = undo_ended_life(id);
    return request;
}

/// After a change that failed half way: what is true now, by the runtime's word.
void Instances::Impl::resolve(OperationContext& context, const std::string& id, const Error& failure) {
    const InstanceViewPtr view = table.find(id);
    if (!view) return;
    const bool in_between = view->row.status == Status::starting || view->row.status == Status::stopping;
    try {
        auto context_of_call = context.rollback_call(view->row.runtime, id, std::chrono::seconds(10));
        InstanceFacts facts = handle_of(view->row).runtime->inspect(context_of_call, view->instance());
        if (in_between && is_end(facts.status) && !facts.reason) facts.reason = failure.message();
        if (in_between || facts != view->row.facts) settle(id, facts);
    } catch (...) {
        const Error unknown = current_error();
        const bool gone = unknown.code() == Code::not_found;
        if (!gone) live.lock()->awaiting[id] = unknown.message();
        try {
            change(id, [&](InstanceRow& row) {
                if (gone || in_between) row.status = gone ? Status::error : Status::stopped;
                row.facts.reason = gone ? "its object on the runtime is gone" : failure.message();
            });
        } catch (const Error&) {  // the store failed: the next start resolves it
        }
    }
}

InstanceViewPtr Instances::Impl::run_start(OperationContext& context, const InstanceViewPtr& view) {
    context.check();
    auto context_of_call = call(context, view);
    const InstanceFacts facts = handle_of(view->row).runtime->start(context_of_call, view->instance());
    return settle(view->row.id, facts);
}

InstanceViewPtr Instances::Impl::run_stop(OperationContext& context, const InstanceViewPtr& view,
                                          const StopOptions& stop) {
    context.check();
    Runtime& runtime = *handle_of(view->row).runtime;
    const std::string& id = view->row.id;
    auto context_of_call = call(context, view);
    if (!stop.force) return settle(id, runtime.stop(context_of_call, view->instance(), stop.grace));
    runtime.kill(context_of_call, view->instance());
    return settle(id, runtime.inspect(context_of_call, view->instance()));
}

OperationPtr Instances::start(const InstanceKey& key, ChangeOptions change) {
    return impl_->start_change(
        key, Action::start, "instance.start", std::move(change),
        [impl = impl_.get()](OperationContext& context, const InstanceViewPtr& view) {
            return impl->run_start(context, view);
        },
        Status::starting);
}

OperationPtr Instances::stop(const InstanceKey& key, StopOptions stop, ChangeOptions change) {
    auto work = [impl = impl_.get(), stop](OperationContext& context, const InstanceViewPtr& view) {
        // A forced stop has waited for another operation's end: what holds now counts.
        if (stop.force) {
            require_allowed(Action::force_stop, view->status, view->row.name, view->reason);
            if (view->row.status == Status::stopped) return view;
            impl->change(view->row.id, [](InstanceRow& row) { row.status = Status::stopping; });
        }
        return impl->run_stop(context, view, stop);
    };
    if (stop.force)
        return impl_->start_change(key, Action::force_stop, "instance.kill", std::move(change),
                                   std::move(work));
    if (!change.timeout) change.timeout = impl_->options.change_timeout + stop.grace;
    return impl_->start_change(key, Action::stop, "instance.stop", std::move(change), std::move(work),
                               Status::stopping);
}

OperationPtr Instances::restart(const InstanceKey& key, StopOptions stop, ChangeOptions change) {
    if (!change.timeout) change.timeout = impl_->options.change_timeout + stop.grace;
    return impl_->start_change(
        key, Action::restart, "instance.restart", std::move(change),
        [impl = impl_.get(), stop](OperationContext& context, const InstanceViewPtr& view) {
            const std::string& id = view->row.id;
            impl->run_stop(context, view, stop);
            context.stage("starting");
            impl->change(id, [](InstanceRow& row) {
                row.status = Status::starting;
                ++row.boot;
            });
            return impl->run_start(context, impl->need(id));
        },
        Status::stopping);
}

OperationPtr Instances::pause(const InstanceKey& key, ChangeOptions change) {
    need_facet(impl_->handle_of(impl_->need(key)->row).pause, impl_->handle_of(impl_->need(key)->row));
    return impl_->start_change(key, Action::pause, "instance.pause", std::move(change),
                               [impl = impl_.get()](OperationContext& context, const InstanceViewPtr& view) {
                                   auto call = impl->call(context, view);
                                   return impl->settle(view->row.id, impl->handle_of(view->row).pause->pause(
                                                                         call, view->instance()));
                               });
}

OperationPtr Instances::resume(const InstanceKey& key, ChangeOptions change) {
    need_facet(impl_->handle_of(impl_->need(key)->row).pause, impl_->handle_of(impl_->need(key)->row));
    return impl_->start_change(key, Action::resume, "instance.resume", std::move(change),
                               [impl = impl_.get()](OperationContext& context, const InstanceViewPtr& view) {
                                   auto call = impl->call(context, view);
                                   return impl->settle(view->row.id, impl->handle_of(view->row).pause->resume(
                                                                         call, view->instance()));
                               });
}

OperationPtr Instances::resize(const InstanceKey& key, ResizeSpec spec, ChangeOptions change) {
    const RuntimeHandle& handle = impl_->handle_of(impl_->need(key)->row);
    need_facet(handle.resize, handle);
    if (!spec.cpus && !spec.memory_mb && !spec.disk_gb)
        throw Error{Code::invalid, "a resize names nothing to change",
                    "give 'cpus', 'memory_mb' or 'disk_gb'"};
    if (spec.disk_gb && handle.features.find("disk") == handle.features.end())
        throw Error{Code::unsupported_by_runtime,
                    fmt::format("the runtime '{}' does not honour field 'disk_gb'", handle.name)};
    return impl_->start_change(
        key, Action::resize, "instance.resize", std::move(change),
        [impl = impl_.get(), spec](OperationContext& context, const InstanceViewPtr& view) {
            auto call = impl->call(context, view);
            const std::string& id = view->row.id;
            const InstanceFacts facts =
                impl->handle_of(view->row).resize->resize(call, view->instance(), spec);
            return impl->store.transact([&](Transaction& transaction) {
                return impl->change_in(transaction, id, [&](InstanceRow& row) {
                    impl->take(row, facts);
                    if (spec.cpus) row.spec.cpus = spec.cpus;
                    if (spec.memory_mb) row.spec.memory_mb = spec.memory_mb;
                    if (spec.disk_gb) row.spec.disk_gb = spec.disk_gb;
                    transaction.update_instance_spec(id, row.spec);
                });
            });
        });
}

OperationPtr Instances::rename(const InstanceKey& key, std::string new_name, ChangeOptions change) {
    check_name(new_name, "new_name");
    return impl_->start_change(
        key, Action::rename, "instance.rename", std::move(change),
        [impl = impl_.get(), new_name](OperationContext&, const InstanceViewPtr& view) {
            return impl->store.transact([&](Transaction& transaction) {
                transaction.rename_instance(view->row.id, new_name);
                return impl->change_in(
                    transaction, view->row.id, [&](InstanceRow& row) { row.name = new_name; },
                    "instance.renamed");
            });
        });
}

OperationPtr Instances::destroy(const InstanceKey& key, ChangeOptions change) {
    return impl_->operations.unless_repeated(key.owner, change.idempotency,
                                             [&] { return impl_->start_destroy(impl_->need(key), change); });
}

void Instances::stop_within(OperationContext& context, const std::string& id, StopOptions stop) {
    const InstanceViewPtr before = impl_->need(id);
    require_allowed(stop.force ? Action::force_stop : Action::stop, before->status, before->row.name,
                    before->reason);
    impl_->healthy_handle_of(before->row);
    try {
        const auto view = impl_->change(id, [](InstanceRow& row) { row.status = Status::stopping; });
        impl_->run_stop(context, view, stop);
    } catch (...) {
        const Error failure = current_error();
        impl_->resolve(context, id, failure);
        throw failure;
    }
}

void Instances::destroy_within(OperationContext& context, const std::string& id) {
    impl_->run_destroy(context, id);
}

OperationPtr Instances::create_snapshot(const InstanceKey& key, SnapshotSpec spec, ChangeOptions change) {
    const RuntimeHandle& handle = impl_->handle_of(impl_->need(key)->row);
    need_facet(handle.snapshot, handle);
    check_name(spec.name);
    return impl_->start_change(
        key, Action::snapshot, "instance.snapshot", std::move(change),
        [impl = impl_.get(), spec](OperationContext& context, const InstanceViewPtr& view) {
            auto call = impl->call(context, view);
            return Outcome(
                encode(impl->handle_of(view->row).snapshot->create_snapshot(call, view->instance(), spec)));
        });
}

OperationPtr Instances::restore_snapshot(const InstanceKey& key, std::string snapshot, ChangeOptions change) {
    const RuntimeHandle& handle = impl_->handle_of(impl_->need(key)->row);
    need_facet(handle.snapshot, handle);
    check_name(snapshot, "snapshot");
    return impl_->start_change(
        key, Action::restore_snapshot, "instance.restore", std::move(change),
        [impl = impl_.get(), snapshot](OperationContext& context, const InstanceViewPtr& view) {
            const std::string& id = view->row.id;
            // What comes back is another life: events of the one before are stale.
            const auto again = impl->change(id, [](InstanceRow& row) {
                row.status = Status::starting;
                ++row.boot;
            });
            auto call = impl->call(context, again);
            return impl->settle(
                id,
                impl->handle_of(again->row).snapshot->restore_snapshot(call, again->instance(), snapshot));
        });
}

OperationPtr Instances::delete_snapshot(const InstanceKey& key, std::string snapshot, ChangeOptions change) {
    const RuntimeHandle& handle = impl_->handle_of(impl_->need(key)->row);
    need_facet(handle.snapshot, handle);
    check_name(snapshot, "snapshot");
    return impl_->start_change(
        key, Action::delete_snapshot, "instance.delete_snapshot", std::move(change),
        [impl = impl_.get(), snapshot](OperationContext& context, const InstanceViewPtr& view) {
            auto call = impl->call(context, view);
            impl->handle_of(view->row).snapshot->delete_snapshot(call, view->instance(), snapshot);
            return impl->need(view->row.id);
        });
}

}  // namespace minions::core
