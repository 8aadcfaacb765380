#include "dispatcher.hpp"

#include <fmt/format.h>

namespace minions::detail {
namespace {

/// Enters a context into the table of calls that can be cancelled, for as long as it lives.
class Registration {
  public:
    using Calls = Sync<std::unordered_map<std::uint64_t, CallContext*>>;
    Registration(Calls& calls, std::uint64_t id, CallContext& context) : calls_(calls), id_(id) {
        if (!calls_.lock()->emplace(id, &context).second) {
            throw Error(Code::internal, fmt::format("a call with the id {} is under way already", id));
        }
    }
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;
    ~Registration() { calls_.lock()->erase(id_); }

  private:
    Calls& calls_;
    std::uint64_t id_;
};

SteadyTime deadline_of(const std::optional<std::int64_t>& milliseconds_left) {
    // A century: what is farther would overflow the clock.
    constexpr std::int64_t longest = std::int64_t{1000} * 3600 * 24 * 36500;
    if (!milliseconds_left || *milliseconds_left > longest) return SteadyTime::max();
    return std::chrono::steady_clock::now() + milliseconds(*milliseconds_left);
}

}  // namespace

void send_reply(minions_reply_fn reply, void* sink, const MethodResult& result) {
    std::string text = R"({"r":)";
    append_json(text, result.value);
    text += '}';
    const int fd = result.fd.get();
    reply(sink, text.data(), text.size(), &fd, result.fd ? 1 : 0);
}

void send_error(minions_reply_fn reply, void* sink, const Error& error) noexcept {
    try {
        std::string text = R"({"e":)";
        append_json(text, encode_error(error));
        text += '}';
        reply(sink, text.data(), text.size(), nullptr, 0);
    } catch (...) {
        constexpr std::string_view text =
            R"({"e":{"code":"unavailable","message":"out of memory","retryable":true}})";
        reply(sink, text.data(), text.size(), nullptr, 0);
    }
}

bool Dispatcher::cancel(std::uint64_t call_id) {
    const auto calls = calls_.lock();
    const auto found = calls->find(call_id);
    if (found == calls->end()) return false;
    found->second->cancel();
    return true;
}

MethodResult Dispatcher::serve(std::uint64_t call_id, std::string_view message, std::vector<Fd> fds) {
    auto request = decode<seam::Request>(parse_json(message), Unknown::ignore);
    if (request.method == seam::method::cancel) {
        const auto target = static_cast<std::uint64_t>(request.parameters["call"].int_or(0));
        return {Value::object({{"found", cancel(target)}}), Fd()};
    }
    CallContext context(host_->link(), call_id, deadline_of(request.deadline_ms));
    const Registration registered(calls_, call_id, context);
    if (request.parameters.is_null()) request.parameters = Value::object();
    MethodCall call{context, decode<seam::InstanceCall>(request.parameters, Unknown::ignore), std::move(fds)};
    return call_method(table_, request.method, call);
}

void Dispatcher::call_from_host(void* self, std::uint64_t call_id, const char* data, std::size_t size,
                                const int* fds, std::size_t fd_count, minions_reply_fn reply, void* sink) {
    std::optional<MethodResult> result;
    try {
        std::vector<Fd> owned;
        owned.reserve(fd_count);
        for (std::size_t i = 0; i < fd_count; ++i) owned.emplace_back(fds[i]);
        result = static_cast<Dispatcher*>(self)->serve(call_id, {data, size}, std::move(owned));
    } catch (...) {
        return send_error(reply, sink, current_error());
    }
    try {
        send_reply(reply, sink, *result);
        (void)result->fd.release();  // the receiver's now
    } catch (...) {
        send_error(reply, sink, current_error());
    }
}

namespace {

void check_host(const minions_host* host) {
    if (host != nullptr && host->size >= MINIONS_HOST_SIZE_1_0 && host->abi_major == MINIONS_ABI_MAJOR)
        return;
    throw Error(Code::internal,
                fmt::format("the host does not speak version {} of the plugin interface", MINIONS_ABI_MAJOR),
                "build the plugin against the SDK of this daemon");
}

}  // namespace

void open_plugin(const Factory& factory, const minions_host* host, const char* data, std::size_t size,
                 void** plugin, minions_reply_fn reply, void* sink) noexcept {
    try {
        check_host(host);
        auto message = decode<seam::Open>(parse_json({data, size}), Unknown::ignore);
        if (message.config.is_null()) message.config = Value::object();
        auto dispatcher = std::make_unique<Dispatcher>(std::make_unique<PluginHost>(
            host, std::move(message.installation), std::move(message.directories)));
        dispatcher->attach(factory(dispatcher->host(), message.config));
        // Never destroyed: the host may call until the process ends. The list keeps leak checkers informed.
        static auto& opened = *new Sync<std::vector<Dispatcher*>>;
        opened.lock()->push_back(dispatcher.get());
        *plugin = dispatcher.release();
        send_reply(reply, sink, {});
    } catch (...) {
        send_error(reply, sink, current_error());
    }
}

}  // namespace minions::detail
