#include "core/operations/operations_impl.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace minions::core {

namespace {
constexpr std::size_t lines_kept = 100;
}

OperationContext::OperationContext(Operations& operations, Operation& operation)
    : operations_(operations), operation_(operation) {}

bool OperationContext::cancelled() const noexcept { return operation_.cancel_.raised(); }

void OperationContext::check() const {
    const auto state = operation_.state_.lock();
    if (state->timed_out || std::chrono::steady_clock::now() >= operation_.deadline_)
        throw Error{Code::deadline, fmt::format("operation {} has passed its deadline", id())}.with(
            "operation", id());
    if (state->cancelled) throw Error{Code::cancelled, state->cancel_reason};
}

void OperationContext::stage(std::string_view stage) {
    {
        const auto state = operation_.state_.lock();
        if (state->row.stage == stage) return;
    }
    operations_.impl_->store.transact([&](Transaction& transaction) { stage_in(transaction, stage); });
}

void OperationContext::stage_in(Transaction& transaction, std::string_view stage) {
    transaction.update_operation_stage(id(), stage);
    transaction.after_commit(
        [this, text = std::string(stage)] { operation_.state_.lock()->row.stage = text; });
}

void OperationContext::succeed_in(Transaction& transaction, Value result) {
    OperationRow row = operation_.row();
    row.status = OperationStatus::succeeded;
    row.result = std::move(result);
    operations_.impl_->finish_in(transaction, operations_.impl_->live_job(id()), row);
}

void OperationContext::progress(const Progress& progress) noexcept {
    try {
        if (!progress.message.empty()) {
            note(progress.message);
            operation_.state_.lock()->message = progress.message;
        }
        if (progress.done) {
            const auto state = operation_.state_.lock();
            state->done = progress.done;
            state->total = progress.total;
        }
        if (!progress.stage.empty()) stage(progress.stage);
    } catch (...) {  // progress is for people; the work itself meets the same trouble soon enough
    }
}

void OperationContext::note(std::string_view line) noexcept {
    try {
        const auto lines = lines_.lock();
        lines->emplace_back(line);
        if (lines->size() > lines_kept) lines->pop_front();
    } catch (...) {  // out of memory: the line is lost
    }
}

CallContext OperationContext::call(std::string runtime, std::string instance,
                                   std::function<void(const RuntimeState&)> state_saved, SteadyTime until) {
    CallOptions options;
    options.runtime = std::move(runtime);
    options.instance = std::move(instance);
    options.operation = id();
    options.deadline = std::min(deadline(), until);
    options.cancel_fd = cancel_fd();
    options.progress = [this](const Progress& step) { progress(step); };
    options.state_saved = std::move(state_saved);
    options.log = [this](LogLevel, std::string_view line) { note(line); };
    return operations_.call(std::move(options));
}

CallContext OperationContext::rollback_call(std::string runtime, std::string instance, milliseconds timeout) {
    CallOptions options;
    options.runtime = std::move(runtime);
    options.instance = std::move(instance);
    options.operation = id();
    options.deadline = std::chrono::steady_clock::now() + timeout;
    options.log = [this](LogLevel, std::string_view line) { note(line); };
    return operations_.call(std::move(options));
}

void OperationContext::claim(const std::string& instance) { operations_.impl_->claim(id(), instance); }

std::vector<std::string> OperationContext::log_tail() const {
    const auto lines = lines_.lock();
    return {lines->begin(), lines->end()};
}

}  // namespace minions::core
