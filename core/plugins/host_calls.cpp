#include "core/plugins/host_calls.hpp"

#include <fmt/format.h>

namespace minions::core {
namespace {

LogLevel level_of(const Value& word) {
    const std::string text = word.string_or("info");
    for (const auto level : {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error}) {
        if (word_of(level) == text) return level;
    }
    return LogLevel::info;
}

std::string text_of(const Value& parameters, const char* name) {
    const auto* text = parameters[name].if_string();
    if (text == nullptr) throw Error(Code::invalid, fmt::format("field '{}' must be a string", name));
    return *text;
}

}  // namespace

/// A host method that needs the call it serves.
struct HostCalls::CallMethod {
    std::string_view name;
    Answer (*run)(PluginCall::Borrowed& call, const Value& parameters, std::vector<Fd> fds);
};

const HostCalls::CallMethod HostCalls::call_methods[] = {
    {seam::host_method::progress,
     [](PluginCall::Borrowed& call, const Value& parameters, std::vector<Fd>) {
         call.context().progress(decode<Progress>(parameters, Unknown::ignore));
         return Answer{};
     }},
    {seam::host_method::save_state,
     [](PluginCall::Borrowed& call, const Value& parameters, std::vector<Fd>) {
         call.context().save_state(decode<RuntimeState>(parameters, Unknown::ignore));
         return Answer{};
     }},
    {seam::host_method::journal_intend,
     [](PluginCall::Borrowed& call, const Value& parameters, std::vector<Fd>) {
         auto entry =
             call.context().journal().intend(text_of(parameters, "kind"), text_of(parameters, "key"));
         return Answer{Value::object({{"id", call.call().keep(std::move(entry))}}), {}};
     }},
    {seam::host_method::journal_held,
     [](PluginCall::Borrowed& call, const Value& parameters, std::vector<Fd>) {
         call.call().held(parameters["id"].int_or(0));
         return Answer{};
     }},
    {seam::host_method::journal_gone,
     [](PluginCall::Borrowed& call, const Value& parameters, std::vector<Fd>) {
         call.context().journal().gone(text_of(parameters, "kind"), text_of(parameters, "key"));
         return Answer{};
     }},
    {seam::host_method::network_attach,
     [](PluginCall::Borrowed& call, const Value&, std::vector<Fd>) {
         return Answer{encode(call.context().network().attach()), {}};
     }},
    {seam::host_method::network_detach,
     [](PluginCall::Borrowed& call, const Value&, std::vector<Fd>) {
         call.context().network().detach();
         return Answer{};
     }},
    {seam::host_method::process_home,
     [](PluginCall::Borrowed& call, const Value&, std::vector<Fd>) {
         return Answer{encode(call.context().processes().home()), {}};
     }},
    {seam::host_method::process_start,
     [](PluginCall::Borrowed& call, const Value& parameters, std::vector<Fd> fds) {
         const auto spec = decode<ProcessSpec>(parameters, Unknown::ignore);
         auto started = call.context().processes().start(spec, std::move(fds));
         return Answer{encode(started.info), one(std::move(started.end))};
     }},
    {seam::host_method::process_find,
     [](PluginCall::Borrowed& call, const Value& parameters, std::vector<Fd>) {
         auto found = call.context().processes().find(text_of(parameters, "role"));
         if (!found) return Answer{Value(), {}};
         return Answer{encode(found->info), one(std::move(found->end))};
     }},
    {seam::host_method::process_kill,
     [](PluginCall::Borrowed& call, const Value& parameters, std::vector<Fd>) {
         call.context().processes().kill(text_of(parameters, "role"));
         return Answer{};
     }},
    {seam::host_method::image_acquire,
     [](PluginCall::Borrowed& call, const Value& parameters, std::vector<Fd>) {
         return Answer{encode(call.context().images().acquire(text_of(parameters, "name"))), {}};
     }},
};

Message HostCalls::serve(std::uint64_t serves, std::string_view text, std::vector<Fd> fds) {
    try {
        const auto request = decode<seam::Request>(parse_json(text), Unknown::ignore);
        Answer given = answer(serves, request, std::move(fds));
        std::string reply = R"({"r":)";
        append_json(reply, given.value);
        reply += '}';
        return {std::move(reply), std::move(given.fds)};
    } catch (...) {
        return {to_json(Value::object({{"e", encode_error(current_error())}})), {}};
    }
}

void HostCalls::log(std::shared_ptr<PluginCall> call, const Value& parameters) {
    const auto level = level_of(parameters["level"]);
    const auto message = text_of(parameters, "message");
    if (call) {
        PluginCall::Borrowed(std::move(call)).context().log(level, message);
    } else {
        sink.on_log(handle.name, level, message);
    }
}

HostCalls::Answer HostCalls::answer(std::uint64_t serves, const seam::Request& request, std::vector<Fd> fds) {
    const Value& parameters = request.parameters;
    auto call = serves == 0 ? nullptr : calls.find(serves);
    if (request.method == seam::host_method::log) {
        log(std::move(call), parameters);
        return {};
    }
    if (request.method == seam::host_method::report) {
        sink.on_event(handle, decode<InstanceEvent>(parameters, Unknown::ignore));
        return {};
    }
    if (request.method == seam::host_method::health_changed) {
        sink.on_health_changed(handle);
        return {};
    }
    for (const auto& method : call_methods) {
        if (method.name != request.method) continue;
        if (!call)
            throw Error(Code::cancelled, fmt::format("'{}' serves no call that is under way", method.name));
        PluginCall::Borrowed borrowed(std::move(call));
        return method.run(borrowed, parameters, std::move(fds));
    }
    throw Error(Code::not_implemented,
                fmt::format("the host has no method '{}'", request.method.substr(0, 64)),
                "the plugin needs a newer daemon");
}

}  // namespace minions::core
