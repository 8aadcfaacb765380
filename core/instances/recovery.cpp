#include "core/instances/impl.hpp"
#include "core/instances/release.hpp"
#include "core/store/ids.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <thread>

namespace minions::core {

namespace {

constexpr auto recover_timeout = std::chrono::seconds(30);
constexpr auto inspect_timeout = std::chrono::seconds(5);
/// Answers that come so soon after one another share a commit: a start with 1,000 instances must not pay for
/// 1,000 fsyncs.
constexpr auto gathering = std::chrono::milliseconds(20);
constexpr milliseconds first_retry = std::chrono::seconds(5);
constexpr milliseconds last_retry = std::chrono::minutes(10);

bool is_cores_own(Status status) { return status == Status::creating || status == Status::destroying; }

}  // namespace

CallContext Instances::Impl::background_call(const std::string& runtime, const std::string& instance,
                                             milliseconds timeout) {
    CallOptions call_options;
    call_options.runtime = runtime;
    call_options.instance = instance;
    call_options.deadline = std::chrono::steady_clock::now() + timeout;
    call_options.cancel_fd = stopping.fd();
    if (!instance.empty())
        call_options.state_saved = [this, instance](const RuntimeState& state) {
            table.set_state(instance, state);
        };
    return operations.call(std::move(call_options));
}

/// Asks for each of the instances, some at a time so that a slow one delays no other, and commits what is
/// said as it comes.
void Instances::Impl::ask_each(const RuntimeHandle& handle, const std::vector<InstanceViewPtr>& views,
                               milliseconds timeout, const Ask& ask) {
    struct Answers {
        Told told;
        std::size_t asking = 0;  ///< threads
    };
    Sync<Answers> answers;
    std::condition_variable arrived;
    std::atomic<std::size_t> next{0};
    const auto ask_one = [&](const InstanceViewPtr& view) -> std::optional<InstanceFacts> {
        try {
            auto call = background_call(handle.name, view->row.id, timeout);
            return ask(call, view->instance());
        } catch (...) {
            const Error failure = current_error();
            if (failure.code() == Code::cancelled) return std::nullopt;  // the daemon is stopping
            InstanceFacts facts = view->row.facts;
            facts.status = failure.code() == Code::not_found ? Status::error : Status::unknown;
            facts.reason = failure.message();
            return facts;
        }
    };
    const auto work = [&] {
        for (auto i = next++; i < views.size() && !stopping.raised(); i = next++) {
            auto facts = ask_one(views[i]);
            if (!facts) continue;
            answers.lock()->told.emplace_back(views[i]->row.id, std::move(*facts));
            arrived.notify_one();
        }
        --answers.lock()->asking;
        arrived.notify_one();
    };
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < std::min(options.recovery_threads, views.size()); ++i) {
        ++answers.lock()->asking;
        threads.emplace_back(work);
    }
    const auto all_said = [](const Answers& now) { return now.asking == 0; };
    for (bool more = true; more;) {
        Told told;
        {
            auto now = answers.lock();
            now.wait(arrived, [&](const Answers& then) { return !then.told.empty() || all_said(then); });
            now.wait_until(arrived, std::chrono::steady_clock::now() + gathering, all_said);
            more = !all_said(*now);
            told.swap(now->told);
        }
        take_answers(told);
    }
}

void Instances::Impl::take_answers(const Told& told) {
    if (told.empty()) return;
    try {
        store.transact([&](Transaction& transaction) {
            for (const auto& [id, facts] : told) {
                const InstanceViewPtr view = table.find(id);
                // A change that has begun meanwhile, or a report that was quicker, knows more.
                if (view && unsettled(*view)) apply(transaction, view, facts);
            }
        });
    } catch (const Error&) {  // the store failed: they are asked for again after a look at the health
    }
}

void Instances::Impl::recover_runtime(const std::string& runtime) {
    const RuntimeHandle* handle = runtimes.find(runtime);
    std::vector<InstanceViewPtr> views = table.all();
    // What is to be removed is not handed over: destroy() needs no recovery.
    std::erase_if(views, [&](const InstanceViewPtr& view) {
        return view->row.runtime != runtime || is_cores_own(view->row.status);
    });
    try {
        ask_each(*handle, views, recover_timeout, [&](Context& call, const Instance& instance) {
            return handle->runtime->recover(call, instance);
        });
    } catch (const std::exception&) {  // no thread could be had: they are asked for later
    }
    try {
        auto call = background_call(runtime, "", recover_timeout);
        handle->runtime->recovered(call);
    } catch (const std::exception&) {  // its health says what is wrong with it
    }
    bool healthy = false;
    {
        const auto now = live.lock();
        now->recovered[runtime] = true;
        healthy = now->health[runtime].healthy;
    }
    recovered.notify_all();
    // What recover() did not say the runtime reports; what it forgets is asked for after the next look.
    if (healthy) finish(*handle, false);
}

void Instances::Impl::health_checked(const std::string& runtime) {
    const RuntimeHandle* handle = runtimes.find(runtime);
    if (handle == nullptr) return;
    const bool was_healthy = live.lock()->health[runtime].healthy;
    const Health health = runtimes.health(*handle);
    show_health(runtime, health);
    if (!health.healthy || !live.lock()->recovered[runtime]) return;
    background.post([this, handle, was_healthy] { finish(*handle, was_healthy); });
}

/// Goes on with what was begun and not ended, once at a time. `ask`: also for what the runtime may be about
/// to report by itself.
void Instances::Impl::finish(const RuntimeHandle& handle, bool ask) {
    {
        const auto now = live.lock();
        if (!now->finishing.insert(handle.name).second) return;
        ask = now->lost.erase(handle.name) > 0 || ask;
    }
    try {
        const Unfinished work = unfinished(handle.name);
        for (const InstanceViewPtr& view : work.destroying) {
            try {
                if (destroy_is_due(view->row.id)) start_destroy(view, {});
            } catch (const Error&) {  // somebody was quicker
            }
        }
        release_orphans(handle, work.orphans);
        if (ask)
            ask_each(handle, work.unsettled, inspect_timeout, [&](Context& call, const Instance& instance) {
                return std::optional(handle.runtime->inspect(call, instance));
            });
    } catch (const std::exception&) {  // the store failed, or the daemon is stopping: the next look goes on
    }
    live.lock()->finishing.erase(handle.name);
}

bool Instances::Impl::destroy_is_due(const std::string& id) {
    const auto time = std::chrono::steady_clock::now();
    const auto now = live.lock();
    Retry& retry = now->retries[id];
    if (time < retry.next) return false;
    retry.pause = std::clamp(retry.pause * 2, first_retry, last_retry);
    retry.next = time + retry.pause;
    return true;
}

Unfinished Instances::Impl::unfinished(const std::string& runtime) {
    Unfinished found;
    for (InstanceViewPtr& view : table.all()) {
        if (view->row.runtime != runtime) continue;
        if (unsettled(*view)) {
            found.unsettled.push_back(std::move(view));
        } else if (view->row.status == Status::destroying && !operations.owner_of(view->row.id)) {
            found.destroying.push_back(std::move(view));
        }
    }
    found.orphans =
        store.transact([&](Transaction& transaction) { return transaction.orphaned_journal(runtime); });
    return found;
}

void Instances::Impl::release_orphans(const RuntimeHandle& handle,
                                      const std::vector<JournalRecord>& orphans) {
    for (const JournalRecord& record : orphans) {
        if (stopping.raised()) return;
        try {
            auto call = background_call(handle.name, record.row.instance, recover_timeout);
            release_rows(store, handle, call, {record});
        } catch (const std::exception&) {  // its row stays, and the next look goes on
        }
    }
}

/// Rows of core itself about instances: what a destroy or a rollback that was cut off has left.
void Instances::Impl::release_own_orphans() noexcept {
    try {
        const auto orphans =
            store.transact([](Transaction& transaction) { return transaction.orphaned_journal(""); });
        for (const JournalRecord& record : orphans) {
            if (stopping.raised()) return;
            if (record.row.instance.empty()) continue;  // of the daemon itself: its owner looks after it
            try {
                background_call("", record.row.instance, recover_timeout).release_own(record.row);
                store.transact([&](Transaction& transaction) { transaction.delete_journal(record.row.id); });
            } catch (const std::exception&) {  // its row stays, and the next start goes on
            }
        }
    } catch (const std::exception&) {  // the store failed: the same
    }
}

void Instances::Impl::recover_all() {
    operations.fail_interrupted();
    std::set<std::string> names;
    for (const RuntimeHandle* handle : runtimes.all()) names.insert(handle->name);
    store.transact([&](Transaction& transaction) {
        for (const InstanceViewPtr& view : table.all()) {
            if (view->row.status != Status::creating) continue;
            // Never acknowledged: it goes, and leaves only its record.
            const Error interrupted(Code::unavailable, "the daemon ended during the create",
                                    "create it again", true);
            transaction.put_diagnosis({view->row.owner, view->row.name, now_rfc3339(),
                                       Value::object({{"id", view->row.id},
                                                      {"runtime", view->row.runtime},
                                                      {"stage", "creating"},
                                                      {"error", encode_error(interrupted)},
                                                      {"timings", Value::object()},
                                                      {"log_tail", Value::array()}})});
            change_in(transaction, view->row.id, [](InstanceRow& row) { row.status = Status::destroying; });
        }
    });
    {
        const auto now = live.lock();
        for (const std::string& name : names) now->recovered.emplace(name, false);
    }
    background.post([this] { release_own_orphans(); });
    for (const std::string& name : names) background.post([this, name] { recover_runtime(name); });
}

}  // namespace minions::core
