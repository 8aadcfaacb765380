#include "core/instances/impl.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

namespace minions::core {

namespace {

/// Statuses in which an operation decides what comes next.
bool in_transition(Status status) {
    return status == Status::creating || status == Status::starting || status == Status::stopping ||
           status == Status::destroying;
}

Value event_data(const InstanceRow& row) {
    Value data = Value::object({{"id", row.id}, {"name", row.name}, {"status", word_of(row.status)}});
    if (row.facts.reason) data.set("reason", *row.facts.reason);
    if (row.facts.exit_code) data.set("exit_code", *row.facts.exit_code);
    if (row.facts.health) data.set("health", *row.facts.health);
    return data;
}

}  // namespace

std::string Instances::Impl::unknown_because(const std::string& runtime) const {
    const auto now = live.lock();
    const auto health = now->health.find(runtime);
    if (health == now->health.end()) return fmt::format("the runtime '{}' is not loaded", runtime);
    if (!health->second.healthy)
        return fmt::format("the runtime '{}' is away: {}", runtime,
                           health->second.reason.empty() ? "it gave no reason" : health->second.reason);
    return "";
}

InstanceViewPtr Instances::Impl::show(const InstanceRow& row) const {
    std::string why = unknown_because(row.runtime);
    if (why.empty()) {
        const auto now = live.lock();
        const auto awaiting = now->awaiting.find(row.id);
        if (awaiting != now->awaiting.end()) why = awaiting->second;
    }
    return make_view(row, std::move(why));
}

InstanceViewPtr Instances::Impl::change_in(Transaction& transaction, const std::string& id, const Edit& edit,
                                           std::string_view type, bool heard) {
    const InstanceViewPtr before = table.find(id);
    if (!before) return nullptr;
    InstanceRow row = before->row;
    edit(row);
    transaction.update_instance(row);
    const std::string derived = row.status == before->row.status
                                    ? "instance.changed"
                                    : fmt::format("instance.{}", word_of(row.status));
    transaction.event(type.empty() ? derived : type, row.name, event_data(row));
    InstanceViewPtr after = heard ? make_view(row, unknown_because(row.runtime)) : show(row);
    transaction.after_commit([this, after, heard] {
        if (heard) {
            const auto now = live.lock();
            now->held.erase(after->row.id);
            now->awaiting.erase(after->row.id);
        }
        table.put(after);
    });
    return after;
}

InstanceViewPtr Instances::Impl::change(const std::string& id, const Edit& edit, std::string_view type,
                                        const More& more) {
    return store.transact([&](Transaction& transaction) {
        auto after = change_in(transaction, id, edit, type);
        if (after && more) more(transaction, after->row);
        return after;
    });
}

void Instances::Impl::take(InstanceRow& row, const InstanceFacts& facts) const {
    // A life ends once: an end that was reported meanwhile is true whatever was returned.
    if (is_end(row.status) && !is_end(facts.status)) return;
    apply_facts(row, facts);
    const auto now = live.lock();
    const auto held = now->held.find(row.id);
    if (held != now->held.end() && held->second.boot == row.boot && is_end(held->second.facts.status) &&
        !is_end(row.status))
        apply_facts(row, held->second.facts);
}

InstanceViewPtr Instances::Impl::settle(const std::string& id, const InstanceFacts& facts, const More& more) {
    const auto taken = [&](InstanceRow& row) { take(row, facts); };
    return store.transact([&](Transaction& transaction) {
        auto after = change_in(transaction, id, taken, {}, true);
        if (after && more) more(transaction, after->row);
        return after;
    });
}

void Instances::Impl::insert(Transaction& transaction, const Plan& plan) {
    transaction.insert_instance(plan.row);
    transaction.event("instance.creating", plan.row.name, event_data(plan.row));
    if (plan.options.inserted) plan.options.inserted(transaction, plan.row);
    transaction.after_commit([this, view = show(plan.row)] { table.put(view); });
}

void Instances::Impl::remove(const std::string& id, std::string_view type, Value data, const More& more) {
    store.transact([&](Transaction& transaction) {
        const InstanceViewPtr view = table.find(id);
        if (!view) return;
        transaction.delete_instance(id);
        transaction.event(type, view->row.name, data);
        if (more) more(transaction, view->row);
        transaction.after_commit([this, id] {
            table.remove(id);
            const auto now = live.lock();
            now->held.erase(id);
            now->awaiting.erase(id);
            now->retries.erase(id);
        });
    });
}

bool Instances::Impl::unsettled(const InstanceView& view) const {
    const Status status = view.row.status;
    if (status == Status::creating || status == Status::destroying) return false;
    if (live.lock()->awaiting.contains(view.row.id)) return true;
    return in_transition(status) && operations.owner_of(view.row.id) == nullptr;
}

void Instances::Impl::report(std::string_view runtime, const InstanceEvent& event) {
    const auto concerns = [&](const InstanceViewPtr& view) {
        return view && view->row.runtime == runtime && view->row.boot == event.boot;
    };
    if (!concerns(table.find(event.instance))) return;
    store.transact([&](Transaction& transaction) {
        const InstanceViewPtr view = table.find(event.instance);
        if (!concerns(view)) return;
        if (in_transition(view->row.status) && !unsettled(*view)) {
            const auto now = live.lock();
            HeldBack& held = now->held[event.instance];
            const bool ended = held.boot == event.boot && is_end(held.facts.status);
            if (!ended || is_end(event.facts.status)) held = {event.boot, event.facts};
            const auto waiters = now->waiting_for_facts.find(event.instance);
            if (waiters != now->waiting_for_facts.end())
                for (EventFd* waiter : waiters->second) waiter->raise();
            return;
        }
        apply(transaction, view, event.facts);
    });
}

/// What the runtime says outside of an operation; for an instance once in a transaction.
void Instances::Impl::apply(Transaction& transaction, const InstanceViewPtr& view,
                            const InstanceFacts& facts) {
    const std::string& id = view->row.id;
    if (facts.status == Status::unknown) {
        transaction.after_commit([this, view, why = facts.reason.value_or("its runtime cannot say")] {
            live.lock()->awaiting[view->row.id] = why;
            table.put(show(view->row));
        });
        return;
    }
    InstanceRow told = view->row;
    apply_facts(told, facts);
    if (told.facts != view->row.facts || told.status != view->row.status) {
        change_in(
            transaction, id, [&](InstanceRow& row) { row = told; }, {}, true);
    } else if (unsettled(*view)) {
        transaction.after_commit([this, view] {
            live.lock()->awaiting.erase(view->row.id);
            table.put(show(view->row));
        });
    }
    // After the hooks above: by then the table says it.
    if (is_end(told.status)) transaction.after_commit([this, told] { undo_life(told); });
}

/// It ended by itself: a VM needs what it had for that life no longer (its engine looks after a container).
void Instances::Impl::undo_life(const InstanceRow& row) noexcept {
    const RuntimeHandle* handle = runtimes.find(row.runtime);
    if (handle == nullptr || handle->kind != RuntimeKind::vm || operations.owner_of(row.id)) return;
    const auto still = [this, id = row.id, boot = row.boot] {
        const InstanceViewPtr view = table.find(id);
        return view && view->row.boot == boot && is_end(view->row.status) && !operations.owner_of(id);
    };
    try {
        background.post([this, id = row.id, runtime = row.runtime, still] {
            try {
                background_call(runtime, id, std::chrono::seconds(30)).ended(still);
            } catch (const std::exception&) {  // its next start, or its destroy, undoes it first
            }
        });
    } catch (const std::exception&) {  // no thread could be had: the same
    }
}

/// An end that came to light while an operation was at the instance, which undo_life() leaves alone.
std::function<void(Transaction&, const OperationRow&)> Instances::Impl::undo_ended_life(
    const std::string& id) {
    return [this, id](Transaction& transaction, const OperationRow&) {
        transaction.after_commit([this, id] {
            const InstanceViewPtr view = table.find(id);
            if (view && is_end(view->row.status)) undo_life(view->row);
        });
    };
}

/// Its runtime went away: what is known of the instance holds no longer. The end of an operation that is at
/// it will say more.
void Instances::Impl::lose(const InstanceRow& row) {
    if (!in_transition(row.status))
        live.lock()->awaiting[row.id] =
            fmt::format("the runtime '{}' has not been heard of it since it was away", row.runtime);
}

void Instances::Impl::show_health(const std::string& runtime, const Health& health) {
    store.transact([&](Transaction& transaction) {
        const Health before = live.lock()->health[runtime];
        if (before == health) return;
        transaction.event(
            "runtime.health", runtime,
            Value::object({{"runtime", runtime}, {"healthy", health.healthy}, {"reason", health.reason}}));
        transaction.after_commit([this, &runtime, &health, before] {
            const bool lost = before.healthy && !health.healthy;
            {
                const auto now = live.lock();
                now->health[runtime] = health;
                if (lost) now->lost.insert(runtime);
                now->retries.clear();  // what failed before may work now
            }
            if (health.healthy == before.healthy && health.reason == before.reason) return;
            for (const InstanceViewPtr& view : table.all()) {
                if (view->row.runtime != runtime) continue;
                if (lost) lose(view->row);
                table.put(show(view->row));
            }
        });
    });
}

}  // namespace minions::core
