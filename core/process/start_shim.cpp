#include "core/process/start_shim.hpp"

#include "shim/options.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <poll.h>
#include <sys/socket.h>

#include <system_error>

namespace minions::core {
namespace {

/// For what takes milliseconds unless the host is about to stand still.
constexpr std::chrono::seconds patience{10};

std::string text_of(const Identity& identity) {
    return fmt::format("--identity={}:{}:{}", identity.uid, identity.gid, fmt::join(identity.groups, ","));
}

SpawnOptions spawn_options(const ProcessOptions& options, ShimRequest&& request, Fd report) {
    SpawnOptions spawn;
    spawn.argv = {options.shim.string(), "--directory=" + request.directory, "--role=" + request.role,
                  fmt::format("--output-bytes={}", options.output_bytes),
                  fmt::format("--descriptors={}", request.pass.size())};
    if (request.identity) spawn.argv.push_back(text_of(*request.identity));
    spawn.argv.push_back("--");
    spawn.argv.insert(spawn.argv.end(), request.argv.begin(), request.argv.end());
    spawn.env = std::move(request.env);
    spawn.fds.emplace_back(shim::starter_fd, std::move(report));
    int number = shim::first_passed_fd;
    for (Fd& each : request.pass) spawn.fds.emplace_back(number++, std::move(each));
    return spawn;
}

}  // namespace

StartedProcess::StartedProcess(const ProcessOptions& options, const Context& ctx, ShimRequest request) {
    const std::string role = request.role;
    const std::string program = request.argv.at(0);
    FdPair pair = make_socketpair(SOCK_SEQPACKET);
    shim_ = std::move(pair.first);
    try {
        Process launcher = spawn(spawn_options(options, std::move(request), std::move(pair.second)));
        launcher.wait(deadline_in(patience));
    } catch (const std::system_error& error) {
        throw Error{Code::unavailable, error.what(), "is the installation of minions complete?"};
    }
    try {
        const shim::Report report = hear(ctx);
        if (report.kind == shim::Report::Kind::conflict)
            throw Error{Code::conflict, fmt::format("a process '{}' of this VM lives already", role)};
        if (report.kind == shim::Report::Kind::failed) {
            const Error failure = error_from_errno(report.error, report.message);
            if (failure.code() == Code::no_space) throw failure;
            throw Error{Code::failed, report.message};
        }
        record_ = report.process;
    } catch (...) {
        give_up();
        throw;
    }
}

StartedProcess::~StartedProcess() { give_up(); }

shim::Report StartedProcess::hear(const Context& ctx) const {
    pollfd entries[] = {{shim_.get(), POLLIN, 0}, {ctx.cancel_fd(), POLLIN, 0}};
    const bool ready = poll_until(entries, 2, std::min<Deadline>(ctx.deadline(), deadline_in(patience))) > 0;
    if (entries[0].revents == 0) {
        ctx.check();
        if (!ready)
            throw Error{Code::unavailable, "minions-shim says nothing", "is the host overloaded?", true};
    }
    std::string text(shim::most_record_bytes, '\0');
    const ssize_t got = ::recv(shim_.get(), text.data(), text.size(), 0);
    if (got <= 0) throw Error{Code::unavailable, "minions-shim ended before it had started a process"};
    const auto report = shim::report({text.data(), static_cast<std::size_t>(got)});
    if (!report) throw Error{Code::internal, "minions-shim says something that this daemon does not know"};
    return *report;
}

void StartedProcess::keep() {
    // A shim that is gone by now has nothing to hear; the process is watched all the same.
    ::send(shim_.get(), "k", 1, MSG_NOSIGNAL);
    shim_.reset();
}

void StartedProcess::give_up() noexcept {
    if (!shim_) return;
    // The shim's end closes its side: by then the process is gone.
    ::shutdown(shim_.get(), SHUT_WR);
    const Deadline until = deadline_in(patience);
    char byte = 0;
    pollfd entry{shim_.get(), POLLIN, 0};
    while (poll_until(&entry, 1, until) > 0 && ::recv(shim_.get(), &byte, 1, 0) > 0) {
    }
    shim_.reset();
}

}  // namespace minions::core
