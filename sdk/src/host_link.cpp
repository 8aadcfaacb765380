#include "host_link.hpp"

#include <optional>

namespace minions::detail {
namespace {

/// Where a reply lands. The host calls the function below exactly once before its call returns.
struct ReplySink {
    std::string text;
    std::vector<Fd> fds;
    bool replied = false;
};

void take_reply(void* sink, const char* data, std::size_t size, const int* fds, std::size_t fd_count) {
    auto& into = *static_cast<ReplySink*>(sink);
    for (std::size_t i = 0; i < fd_count; ++i) into.fds.emplace_back(fds[i]);
    into.text.assign(data, size);
    into.replied = true;
}

}  // namespace

HostLink::Answer HostLink::ask(std::uint64_t serves, const char* method, Value parameters,
                               std::vector<Fd> pass) const {
    const std::string request = to_json(encode(seam::Request{method, std::move(parameters), std::nullopt}));
    std::vector<int> fds;
    fds.reserve(pass.size());
    for (auto& fd : pass) fds.push_back(fd.release());
    ReplySink sink;
    host_->call(host_->self, serves, request.data(), request.size(), fds.data(), fds.size(), &take_reply,
                &sink);
    if (!sink.replied) throw Error(Code::internal, "the host did not answer a call of the plugin");
    Value reply = parse_json(sink.text);
    if (const Value* error = reply.find("e")) throw decode_error(*error);
    return {reply["r"], std::move(sink.fds)};
}

void HostLink::log(std::uint64_t serves, LogLevel level, std::string_view message) const noexcept {
    try {
        call(serves, seam::host_method::log,
             Value::object({{"level", word_of(level)}, {"message", message}}));
    } catch (...) {
        // The daemon is going away, or the call was given up.
    }
}

void PluginHost::report(const InstanceEvent& event) noexcept {
    try {
        link_.call(0, seam::host_method::report, encode(event));
    } catch (const std::exception& error) {
        try {
            log(LogLevel::warning, std::string("an event was lost: ") + error.what());
        } catch (...) {
            // Out of memory; the next inspect() tells the truth.
        }
    }
}

void PluginHost::health_changed() noexcept {
    try {
        link_.call(0, seam::host_method::health_changed, Value::object());
    } catch (...) {
        // Core asks for health every so often anyway.
    }
}

}  // namespace minions::detail
