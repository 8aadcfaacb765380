#include "core/instances/impl.hpp"
#include "core/instances/release.hpp"

#include <minions/base/call_pipes.hpp>
#include <minions/base/failpoint.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

namespace minions::core {

namespace {

constexpr std::int64_t tail_lines = 50;
constexpr std::size_t tail_bytes = std::size_t{64} << 10U;

std::vector<std::string> last_lines(const std::string& text) {
    std::vector<std::string> lines;
    std::size_t from = 0;
    while (from < text.size()) {
        const std::size_t end = std::min(text.find('\n', from), text.size());
        lines.push_back(text.substr(from, end - from));
        from = end + 1;
    }
    if (lines.size() > static_cast<std::size_t>(tail_lines))
        lines.erase(lines.begin(), lines.end() - tail_lines);
    return lines;
}

}  // namespace

const RuntimeHandle& Instances::Impl::handle_of(const InstanceRow& row) const {
    const RuntimeHandle* handle = runtimes.find(row.runtime);
    if (handle == nullptr)
        throw Error{Code::unavailable,
                    fmt::format("the runtime '{}' of VM '{}' is not loaded", row.runtime, row.name),
                    "look at GET /api/plugins for the reason"};
    return *handle;
}

const RuntimeHandle& Instances::Impl::healthy_handle_of(const InstanceRow& row) const {
    const RuntimeHandle& handle = handle_of(row);
    const Health health = runtimes.health(handle);
    if (!health.healthy)
        throw Error{
            Code::unavailable,
            fmt::format("the runtime '{}' of VM '{}' is away: {}", row.runtime, row.name, health.reason), "",
            true};
    return handle;
}

void Instances::Impl::undo(OperationContext& context, const RuntimeHandle& handle, const Instance& instance,
                           bool rollback) {
    const auto with = [&](CallContext&& call) {
        handle.runtime->destroy(call, instance);
        release_rows(store, handle, call, store.transact([&](Transaction& transaction) {
            return transaction.journal_of_instance(instance.id);
        }));
    };
    with(rollback ? context.rollback_call(handle.name, instance.id) : context.call(handle.name, instance.id));
}

void Instances::Impl::run_destroy(OperationContext& context, const std::string& id) {
    const InstanceViewPtr view = table.find(id);
    if (!view) return;  // the rollback of a create has removed it
    context.check();    // a destroy that was cancelled while it waited changes nothing
    const std::string& name = view->row.name;
    if (view->row.status != Status::destroying)
        change(id, [](InstanceRow& row) {
            row.status = Status::destroying;
            row.facts.reason.reset();
        });
    try {
        MINIONS_FAILPOINT("instance.destroy.before");
        undo(context, healthy_handle_of(view->row), view->instance(), false);
        MINIONS_FAILPOINT("instance.destroy.after");
    } catch (...) {
        Error failure = current_error();
        try {
            change(id, [&](InstanceRow& row) { row.facts.reason = failure.message(); });
        } catch (const Error&) {  // the operation's error says it too
        }
        if (failure.code() == Code::unavailable)
            throw Error{Code::unavailable,
                        fmt::format("VM '{}' cannot be destroyed yet: {}", name, failure.message()),
                        "it will be when its runtime is back; repeating the request is safe", true};
        throw failure;
    }
    remove(id, "instance.destroyed", Value::object({{"id", id}, {"name", name}}));
}

OperationPtr Instances::Impl::start_destroy(const InstanceViewPtr& view, ChangeOptions change_options) {
    const std::string id = view->row.id;
    const std::string name = view->row.name;
    OperationRequest request;
    request.kind = "instance.destroy";
    request.subject = name;
    request.owner = view->row.owner;
    request.stage = "destroying";
    request.instance = id;
    request.pool = view->row.runtime;
    request.rank = Rank::destroy;
    request.join = true;
    request.timeout = change_options.timeout.value_or(options.destroy_timeout);
    request.idempotency = std::move(change_options.idempotency);
    request.work = [this, id, name](OperationContext& context) {
        run_destroy(context, id);
        return Value::object({{"message", fmt::format("VM '{}' destroyed", name)}});
    };
    return operations.start(std::move(request));
}

std::vector<std::string> Instances::Impl::read_log_tail(OperationContext& context,
                                                        const RuntimeHandle& handle,
                                                        const Instance& instance) {
    if (handle.logs == nullptr) return {};
    std::string text;
    try {
        CallPipes pipes;
        Fd out = pipes.collect([&text](std::string_view piece) {
            text += piece;
            if (text.size() > 2 * tail_bytes) text.erase(0, text.size() - tail_bytes);
        });
        pipes.start();
        auto call = context.rollback_call(handle.name, instance.id, std::chrono::seconds(2));
        handle.logs->logs(call, instance, LogsSpec{tail_lines, false}, std::move(out));
    } catch (const std::exception&) {  // what has arrived is shown all the same
    }
    return last_lines(text);
}

}  // namespace minions::core
