#include "core/operations/operations.hpp"

#include "core/operations/operations_impl.hpp"
#include "core/store/ids.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <csignal>

namespace minions::core {

namespace {

constexpr std::size_t prune_every = 256;

Error busy(const Job& other) {
    return Error{Code::busy,
                 fmt::format("another operation on this instance is under way ({})", other.request.kind),
                 fmt::format("wait for operation {} to end", other.operation->id())}
        .with("operation", other.operation->id());
}

Error mismatch(const Idempotency& idempotency) {
    return {Code::idempotency_mismatch,
            fmt::format("the Idempotency-Key '{}' was used before with another body", idempotency.key),
            "use a new key for a new request"};
}

void store_end(Transaction& transaction, const OperationRow& row) {
    transaction.finish_operation(row);
    transaction.event("operation.finished", row.id,
                      Value::object({{"kind", row.kind},
                                     {"subject", row.subject},
                                     {"status", word_of(row.status)},
                                     {"error", row.error}}));
}

}  // namespace

Operations::Impl::Impl(Operations& owner, Store& store_in, OperationsOptions options_in)
    : self(owner), store(store_in), options(options_in) {
    sigset_t all{};
    sigset_t before{};
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the main thread
    watchdog = std::thread([this] { watch_deadlines(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Operations::Impl::~Impl() {
    state.lock()->stopping = true;
    changed.notify_all();
    watchdog.join();
    std::map<std::string, Threads> ending;
    state.lock()->pools.swap(ending);  // joined without the lock, which their last steps take
}

void Operations::Impl::watch_deadlines() {
    auto now = state.lock();
    while (!now->stopping) {
        const auto time = std::chrono::steady_clock::now();
        SteadyTime next = time + std::chrono::hours(1);
        for (const auto& [id, job] : now->live) {
            Operation& operation = *job->operation;
            const auto shared = operation.state_.lock();
            if (shared->timed_out) continue;
            if (operation.deadline_ <= time) {
                shared->timed_out = true;
                operation.end_early(*shared);
            } else {
                next = std::min(next, operation.deadline_);
            }
        }
        now.wait_until(changed, next, [&, seen = now->starts](const State& then) {
            return then.stopping || then.starts != seen;
        });
    }
}

JobPtr Operations::Impl::take_instance(State& now, const JobPtr& job) {
    const OperationRequest& request = job->request;
    if (request.instance.empty()) return nullptr;
    Claim& claim = now.claims[request.instance];
    if (claim.current == nullptr) {
        claim.current = job;
    } else {
        std::vector<JobPtr> others{claim.current};
        others.insert(others.end(), claim.waiting.begin(), claim.waiting.end());
        for (const JobPtr& other : others)
            if (request.join && other->request.kind == request.kind) return other;
        for (const JobPtr& other : others)
            if (other->request.rank >= request.rank) throw busy(*other);
        claim.waiting.push_back(job);
    }
    job->claims.push_back(request.instance);
    return nullptr;
}

void Operations::Impl::cancel_outranked(const JobPtr& job) {
    std::vector<OperationPtr> outranked;
    {
        const auto now = state.lock();
        const auto claim = now->claims.find(job->request.instance);
        if (claim == now->claims.end()) return;
        const auto consider = [&](const JobPtr& other) {
            if (other != job && other->request.rank < job->request.rank)
                outranked.push_back(other->operation);
        };
        consider(claim->second.current);
        for (const JobPtr& other : claim->second.waiting) consider(other);
    }
    for (const OperationPtr& operation : outranked)
        operation->cancel(fmt::format("ended by {} (operation {})", job->request.kind, job->operation->id()));
}

void Operations::Impl::release_claims(State& now, const JobPtr& job) {
    for (const std::string& instance : job->claims) {
        const auto at = now.claims.find(instance);
        if (at == now.claims.end()) continue;
        Claim& claim = at->second;
        std::erase(claim.waiting, job);
        if (claim.current != job) continue;
        if (claim.waiting.empty()) {
            now.claims.erase(at);
            continue;
        }
        claim.current = claim.waiting.front();
        claim.waiting.pop_front();
        post_if_ready(now, claim.current);
    }
    job->claims.clear();
}

void Operations::Impl::post_if_ready(State& now, const JobPtr& job) {
    if (!job->committed || job->posted) return;
    if (!job->request.instance.empty() && now.claims[job->request.instance].current != job) return;
    job->posted = true;
    Threads& threads = now.pools.try_emplace(job->request.pool, options.threads).first->second;
    const auto work = [this, job] { run(job); };
    const auto shared = job->operation->state_.lock();
    shared->waiting_work = [&threads, work] { threads.urgent.post(work); };
    const bool to_end = shared->cancelled || shared->timed_out;
    (to_end || job->request.rank > Rank::normal ? threads.urgent : threads.ordinary).post(work);
}

void Operations::Impl::drop(const JobPtr& job) {
    {
        const auto now = state.lock();
        now->live.erase(job->operation->id());
        release_claims(*now, job);
    }
    changed.notify_all();
}

JobPtr Operations::Impl::live_job(const std::string& id) const {
    const auto now = state.lock();
    const auto at = now->live.find(id);
    return at == now->live.end() ? nullptr : at->second;
}

OperationPtr Operations::Impl::known(const std::string& id) {
    if (const JobPtr job = live_job(id)) return job->operation;
    auto row = store.transact([&](Transaction& transaction) { return transaction.operation(id); });
    return row ? std::make_shared<Operation>(std::move(*row)) : nullptr;
}

/// Commits the row of a job that has its instance or a place in the queue. Returns the operation of the same
/// idempotency key instead, if another request was quicker.
OperationPtr Operations::Impl::commit_start(const JobPtr& job) {
    const OperationRequest& request = job->request;
    const OperationRow row = job->operation->row();
    return store.transact([&](Transaction& transaction) -> OperationPtr {
        if (request.idempotency) {
            const auto& [key, route, hash] = *request.idempotency;
            const auto seen = transaction.idempotency(request.owner, key, route);
            if (seen && seen->body_hash != hash) throw mismatch(*request.idempotency);
            if (seen) {
                auto first = transaction.operation(seen->operation);
                if (first) return std::make_shared<Operation>(std::move(*first));
            } else {
                transaction.insert_idempotency(
                    {request.owner, key, route, hash, row.id,
                     rfc3339(std::chrono::system_clock::now() + options.idempotency_kept)});
            }
        }
        transaction.insert_operation(row);
        transaction.event("operation.started", row.id,
                          Value::object({{"kind", row.kind}, {"subject", row.subject}}));
        if (request.prepare) request.prepare(transaction);
        return nullptr;
    });
}

/// Stores the outcome, and shows it with the commit: before anybody hears of it by an event.
void Operations::Impl::finish_in(Transaction& transaction, const JobPtr& job, OperationRow row) {
    row.finished_at = now_rfc3339();
    store_end(transaction, row);
    // The first hook: those of `finished` find the instances free.
    transaction.after_commit([this, job, row] { show_finished(job, row); });
    if (job->request.finished) job->request.finished(transaction, row);
    if (++state.lock()->finishes % prune_every == 0) {
        transaction.prune_idempotency();
        transaction.prune_operations(options.finished_kept);
    }
}

void Operations::Impl::show_finished(const JobPtr& job, const OperationRow& row) {
    const auto now = state.lock();
    release_claims(*now, job);
    job->operation->state_.lock()->row = row;
}

/// False if the outcome is in memory only; after a restart the operation counts as interrupted.
bool Operations::Impl::finish(const JobPtr& job, const OperationRow& row) {
    try {
        store.transact([&](Transaction& transaction) { finish_in(transaction, job, row); });
        return true;
    } catch (const Error&) {
        show_finished(job, row);
        return false;
    }
}

/// Tells who waits. What the work held goes first: it may refer to what a waiter destroys next.
void Operations::Impl::end(const JobPtr& job, bool stored) {
    job->request.prepare = nullptr;
    job->request.work = nullptr;
    job->request.finished = nullptr;
    {
        const auto now = state.lock();
        if (stored) now->live.erase(job->operation->id());
        job->over = true;
    }
    job->operation->done_.raise();
    changed.notify_all();
}

OperationRow Operations::Impl::outcome(const Operation& operation, Value result,
                                       const std::optional<Error>& failure) {
    const auto shared = operation.state_.lock();
    OperationRow row = shared->row;
    if (!failure) {
        row.status = OperationStatus::succeeded;
        row.result = std::move(result);
        return row;
    }
    Error told = *failure;
    const bool ended_early = told.code() == Code::cancelled || told.code() == Code::deadline;
    const bool timed_out = shared->timed_out || std::chrono::steady_clock::now() >= operation.deadline_;
    row.status = told.code() == Code::cancelled ? OperationStatus::cancelled : OperationStatus::failed;
    if (ended_early && shared->cancelled) {
        row.status = OperationStatus::cancelled;
        told = Error{shared->cancel_code, shared->cancel_reason};
    } else if (ended_early && timed_out) {
        row.status = OperationStatus::failed;
        told = Error{Code::deadline,
                     fmt::format("{} of '{}' passed its deadline and was rolled back", row.kind, row.subject),
                     "allow it more time, or look at what it waited for"};
        told.with("stage", row.stage);
    }
    row.error = encode_error(told.with("operation", row.id));
    return row;
}

void Operations::Impl::run(const JobPtr& job) {
    Operation& operation = *job->operation;
    if (!std::exchange(operation.state_.lock()->waiting_work, nullptr)) return;  // another thread was quicker
    Value result;
    std::optional<Error> failure;
    {
        OperationContext context(self, operation);
        try {
            result = job->request.work(context);
        } catch (...) {
            failure = current_error();
        }
    }
    end(job, operation.finished() || finish(job, outcome(operation, std::move(result), failure)));
}

void Operations::Impl::claim(const std::string& operation, const std::string& instance) {
    const JobPtr job = live_job(operation);
    if (!job) throw Error{Code::internal, "an operation that has ended claims an instance"};
    const auto now = state.lock();
    Claim& claim = now->claims[instance];
    if (claim.current == job) return;
    if (claim.current != nullptr) throw busy(*claim.current);
    claim.current = job;
    job->claims.push_back(instance);
}

/// Makes the job known, with its instance or a place in the queue there; or returns the one that it joins.
JobPtr Operations::Impl::enter(const JobPtr& job) {
    auto now = state.lock();
    for (;;) {
        if (now->draining)
            throw Error{Code::unavailable, "the daemon is stopping", "try again when it is back", true};
        const JobPtr other = take_instance(*now, job);
        if (!other) break;
        // Its commit may be under way still, and may be refused.
        now.wait(changed, [&](const State& then) {
            return other->committed || !then.live.contains(other->operation->id());
        });
        if (other->committed) return other;
    }
    now->live.emplace(job->operation->id(), job);
    ++now->starts;
    return nullptr;
}

Operations::Operations(Store& store, OperationsOptions options)
    : impl_(std::make_unique<Impl>(*this, store, options)) {}

Operations::~Operations() { drain(SteadyTime::max()); }

OperationPtr Operations::start(OperationRequest request) {
    if (request.idempotency)
        if (auto first = repeated(request.owner, *request.idempotency)) return first;
    OperationRow row;
    row.id = new_id();
    row.kind = request.kind;
    row.subject = request.subject;
    row.owner = request.owner;
    row.stage = request.stage;
    row.created_at = now_rfc3339();
    auto job = std::make_shared<Job>();
    job->operation =
        std::make_shared<Operation>(std::move(row), std::chrono::steady_clock::now() + request.timeout);
    job->request = std::move(request);
    if (const JobPtr other = impl_->enter(job)) return other->operation;
    OperationPtr first;
    try {
        first = impl_->commit_start(job);
    } catch (...) {
        impl_->drop(job);
        throw;
    }
    if (first) {
        impl_->drop(job);
        return impl_->known(first->id());
    }
    const OperationPtr operation = job->operation;
    impl_->cancel_outranked(job);
    {
        const auto now = impl_->state.lock();
        job->committed = true;
        impl_->post_if_ready(*now, job);
        if (now->draining) operation->cancel("the daemon is stopping", Code::unavailable);
    }
    impl_->changed.notify_all();
    return operation;
}

OperationPtr Operations::repeated(const std::string& owner, const Idempotency& idempotency) {
    const auto id = impl_->store.transact([&](Transaction& transaction) -> std::optional<std::string> {
        const auto seen = transaction.idempotency(owner, idempotency.key, idempotency.route);
        if (!seen) return std::nullopt;
        if (seen->body_hash != idempotency.body_hash) throw mismatch(idempotency);
        return seen->operation;
    });
    return id ? impl_->known(*id) : nullptr;
}

OperationPtr Operations::find(const std::string& id) { return impl_->known(id); }

std::vector<OperationRow> Operations::list(std::size_t limit) {
    auto rows =
        impl_->store.transact([&](Transaction& transaction) { return transaction.operations(limit); });
    for (OperationRow& row : rows)
        if (const JobPtr job = impl_->live_job(row.id)) row = job->operation->row();
    return rows;
}

OperationPtr Operations::owner_of(const std::string& instance) const {
    const auto now = impl_->state.lock();
    const auto at = now->claims.find(instance);
    return at == now->claims.end() || !at->second.current ? nullptr : at->second.current->operation;
}

void Operations::offer(MakeVmServices services) { impl_->vm_services = std::move(services); }

CallContext Operations::call(CallOptions options) const {
    options.vm_services = impl_->vm_services;
    return {impl_->store, std::move(options)};
}

void Operations::fail_interrupted() {
    impl_->store.transact([](Transaction& transaction) {
        for (OperationRow& row : transaction.running_operations()) {
            row.status = OperationStatus::failed;
            row.finished_at = now_rfc3339();
            row.error = encode_error(Error{Code::unavailable,
                                           "the daemon restarted while this operation was under way",
                                           "look at what is there now, then repeat it if need be", true}
                                         .with("operation", row.id));
            store_end(transaction, row);
        }
    });
}

bool Operations::drain(SteadyTime until) {
    std::vector<OperationPtr> live;
    {
        const auto now = impl_->state.lock();
        now->draining = true;
        for (const auto& [id, job] : now->live) live.push_back(job->operation);
    }
    for (const OperationPtr& operation : live) operation->cancel("the daemon is stopping", Code::unavailable);
    auto now = impl_->state.lock();
    return now.wait_until(impl_->changed, until, [](const Impl::State& state) {
        return std::all_of(state.live.begin(), state.live.end(),
                           [](const auto& entry) { return entry.second->over; });
    });
}

}  // namespace minions::core
