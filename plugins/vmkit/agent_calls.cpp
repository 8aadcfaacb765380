#include "plugins/vmkit/agent_client_impl.hpp"

#include <minions/base/deadline.hpp>
#include <minions/codec.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <poll.h>
#include <sys/socket.h>

#include <system_error>

namespace minions::vmkit {

using namespace agent;

namespace {

/// How long an agent may take to kill what it was asked to.
constexpr auto cancel_grace = std::chrono::seconds(5);

/// The error of an end that is not `done`.
Error error_of(const Fields& end) {
    const std::string message(end.text(tag::message).value_or("the agent gives no reason"));
    switch (static_cast<End>(end.number(tag::how).value_or(static_cast<std::int64_t>(End::failed)))) {
        case End::not_found:
            return {Code::not_found, message};
        case End::refused:
            return {Code::invalid, message};
        case End::unsupported:
            return {Code::unsupported_by_runtime, "the guest's agent is too old for this: " + message,
                    "rebuild the image with the present agent"};
        case End::cancelled:
            return {Code::cancelled, "the request was cancelled"};
        case End::deadline:
            return {Code::deadline, "the request passed its deadline"};
        default:
            return {Code::failed, message};
    }
}

bool is_done(const Fields& end) { return end.number(tag::how) == static_cast<std::int64_t>(End::done); }

/// A number of a reply, scaled; null where the agent does not say.
std::optional<std::int64_t> figure(const Fields& fields, std::uint8_t name, std::int64_t unit = 1) {
    const auto value = fields.number(name);
    return value ? std::optional(*value / unit) : std::nullopt;
}

std::optional<double> fraction(const Fields& fields, std::uint8_t name, double unit) {
    const auto value = fields.number(name);
    return value ? std::optional(static_cast<double>(*value) / unit) : std::nullopt;
}

/// The next document of an exec's control descriptor as the agent gets it; nothing at the end.
std::optional<Fields> read_control(const Fd& from) {
    char buffer[4096];
    const ssize_t got = ::recv(from.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (got <= 0) return std::nullopt;
    Fields fields;
    try {
        const auto control =
            decode<ExecControl>(parse_json({buffer, static_cast<std::size_t>(got)}), Unknown::ignore);
        if (control.signal) fields.add_number(tag::signal, *control.signal);
        if (control.rows) fields.add_number(tag::rows, *control.rows);
        if (control.columns) fields.add_number(tag::columns, *control.columns);
    } catch (const Error&) {  // not ours to judge: a document of a newer core
    }
    return fields;
}

}  // namespace

/// Starts the request and waits for its end, or until it is open where that is asked. Cancels it when the
/// call is to end, and gives the agent a little time to say that it has.
Fields AgentClient::run(const Context& ctx, const AgentRequestPtr& request, bool until_open, Fd control) {
    wait_ready(ctx);
    loop_.run([&] {
        if (!impl_->session || !impl_->session->welcomed())
            throw Error{Code::unavailable, "the session with the guest's agent was lost", "try again", true};
        impl_->session->begin(request);
    });
    const auto tell = [&](const std::function<void(AgentSession&)>& what) {
        loop_.run([&] {
            if (impl_->session) what(*impl_->session);
        });
    };
    std::optional<Error> given_up;
    SteadyTime until = ctx.deadline();
    for (;;) {
        request->changed.clear();
        {
            const auto now = request->result.lock();
            if (now->over && given_up) throw Error(*given_up);
            if (now->over && !now->lost.empty()) throw Error{Code::unavailable, now->lost, "try again", true};
            if (now->over || (until_open && now->opened)) return now->end;
        }
        pollfd fds[] = {{request->changed.fd(), POLLIN, 0},
                        {given_up ? -1 : ctx.cancel_fd(), POLLIN, 0},
                        {control ? control.get() : -1, POLLIN, 0}};
        const int ready = poll_until(fds, 3, until);
        if (ready == 0 && given_up) throw Error(*given_up);
        if (ready == 0 || fds[1].revents != 0) {
            given_up = ready == 0 ? Error{Code::deadline, "the request passed its deadline"}
                                  : Error{Code::cancelled, "the request was cancelled"};
            until = deadline_in(cancel_grace);
            tell([&](AgentSession& session) { session.cancel(request); });
        } else if (fds[2].revents != 0) {
            const auto fields = read_control(control);
            if (!fields)
                control.reset();
            else
                tell([&](AgentSession& session) { session.control(request, *fields); });
        }
    }
}

Fields AgentClient::call(const Context& ctx, Method method, Fields fields) {
    auto request = std::make_shared<AgentRequest>();
    request->method = method;
    request->fields = std::move(fields);
    Fields end = run(ctx, request);
    if (!is_done(end)) throw error_of(end);
    return end;
}

ExecEnd AgentClient::exec(const Context& ctx, const ExecSpec& spec, ExecStreams streams) {
    auto request = std::make_shared<AgentRequest>();
    request->method = Method::exec;
    Fields& fields = request->fields;
    fields.add(tag::argument, spec.command);
    for (const auto& argument : spec.args) fields.add(tag::argument, argument);
    for (const auto& [name, value] : spec.env) fields.add(tag::variable, fmt::format("{}={}", name, value));
    if (spec.cwd) fields.add(tag::directory, *spec.cwd);
    if (spec.user) fields.add(tag::user, *spec.user);
    if (spec.tty) {
        fields.add_number(tag::terminal, 1);
        fields.add_number(tag::rows, spec.rows).add_number(tag::columns, spec.columns);
    }
    fields.add_number(tag::input, streams.input ? 1 : 0);
    request->input = std::move(streams.input);
    request->output = std::move(streams.output);
    Fd words;  // for what the agent says of a program that cannot be run
    if (streams.error) words = duplicate(streams.error.get());
    request->error = std::move(streams.error);

    const Fields end = run(ctx, request, false, std::move(streams.control));
    const auto how = static_cast<End>(end.number(tag::how).value_or(static_cast<std::int64_t>(End::failed)));
    ExecEnd result;
    if (how == End::signaled) {
        result.signal = static_cast<int>(end.number(tag::signal).value_or(9));
    } else if (how == End::cancelled) {  // by us: nobody reads its output any more
        result.signal = 9;
    } else if (how == End::not_found || how == End::not_executable) {
        result.exit_code = how == End::not_found ? 127 : 126;
        const std::string line = std::string(end.text(tag::message).value_or("")) + "\n";
        try {
            if (words) write_all(words.get(), line.data(), line.size());
        } catch (const std::system_error&) {  // nobody reads it
        }
    } else if (how == End::done) {
        result.exit_code = static_cast<int>(end.number(tag::exit_code).value_or(0));
    } else {
        throw error_of(end);
    }
    return result;
}

void AgentClient::read_files(const Context& ctx, const std::string& path, Fd out) {
    auto request = std::make_shared<AgentRequest>();
    request->method = Method::read_files;
    request->fields.add(tag::path, path);
    request->output = std::move(out);
    const Fields end = run(ctx, request);
    if (!is_done(end)) throw error_of(end);
}

void AgentClient::write_files(const Context& ctx, const std::string& path, Fd in) {
    auto request = std::make_shared<AgentRequest>();
    request->method = Method::write_files;
    request->fields.add(tag::path, path);
    request->input = std::move(in);
    const Fields end = run(ctx, request);
    if (!is_done(end)) throw error_of(end);
}

Fd AgentClient::forward(const Context& ctx, int port) {
    auto request = std::make_shared<AgentRequest>();
    request->method = Method::forward;
    request->fields.add_number(tag::port, port);
    FdPair pair = make_socketpair(SOCK_STREAM);
    request->input = duplicate(pair.second.get());
    request->output = std::move(pair.second);
    const Fields end = run(ctx, request, true);
    if (end.number(tag::how) && !is_done(end)) {
        const std::string message(end.text(tag::message).value_or("the agent gives no reason"));
        throw Error{Code::unavailable, message, "start what should listen there", true};
    }
    return std::move(pair.first);
}

Stats AgentClient::stats(const Context& ctx) {
    constexpr std::int64_t mib = std::int64_t{1} << 20U;
    constexpr double gib = 1024.0 * 1024.0 * 1024.0;
    const Fields end = call(ctx, Method::status);
    Stats stats;
    stats.uptime_secs = figure(end, tag::uptime_seconds);
    if (const auto name = end.text(tag::host_name)) stats.hostname = std::string(*name);
    stats.memory_total_mb = figure(end, tag::memory_total_bytes, mib);
    stats.memory_used_mb = figure(end, tag::memory_used_bytes, mib);
    stats.disk_total_gb = fraction(end, tag::disk_total_bytes, gib);
    stats.disk_used_gb = fraction(end, tag::disk_used_bytes, gib);
    stats.cpu_usage_percent = fraction(end, tag::cpu_percent_milli, 1000);
    stats.network_rx_bytes = figure(end, tag::received_bytes);
    stats.network_tx_bytes = figure(end, tag::sent_bytes);
    stats.load_avg_1m = fraction(end, tag::load_1m_milli, 1000);
    return stats;
}

}  // namespace minions::vmkit
