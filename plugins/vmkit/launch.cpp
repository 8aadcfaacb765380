#include "plugins/vmkit/launch.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/spawn.hpp>
#include <minions/base/unix_address.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace minions::vmkit {

namespace {

constexpr milliseconds version_timeout{1500};

bool same_file(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
           a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

}  // namespace

VersionOutput::Answer VersionOutput::ask(const Context& ctx, const std::string& program) {
    struct stat file {};
    if (::stat(program.c_str(), &file) != 0)
        return {"", fmt::format("'{}' cannot be looked at: {}", program, std::strerror(errno))};
    {
        const auto known = known_.lock();
        if (!known->text.empty() && same_file(known->file, file)) return {known->text, ""};
    }
    SpawnOptions options;
    options.argv = {program, "--version"};
    RunLimits limits;
    limits.deadline = std::min(ctx.deadline(), deadline_in(version_timeout));
    limits.cancel_fd = ctx.cancel_fd();
    const RunResult result = run(std::move(options), limits);
    if (result.end != RunEnd::exited)
        return {"", fmt::format("'{} --version' does not answer in time", program)};
    if (!result.success() || result.out.empty())
        return {"", fmt::format("'{} --version' fails: {}", program, result.err.substr(0, 200))};
    const auto known = known_.lock();
    known->file = file;
    known->text = result.out;
    return {result.out, ""};
}

std::string find_program(const std::string& name) {
    if (name.find('/') != std::string::npos) return ::access(name.c_str(), X_OK) == 0 ? name : "";
    const char* path = ::getenv("PATH");
    const std::string list = std::string(path != nullptr ? path : "/usr/bin:/bin") + ":/usr/local/bin";
    for (std::size_t at = 0; at <= list.size();) {
        const std::size_t end = std::min(list.find(':', at), list.size());
        const std::string candidate = list.substr(at, end - at) + "/" + name;
        if (candidate.front() == '/' && candidate.size() > name.size() + 1 &&
            ::access(candidate.c_str(), X_OK) == 0)
            return candidate;
        at = end + 1;
    }
    return "";
}

Fd listen_on(const std::string& path) {
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    // Before it listens, so that nobody else can have connected.
    if (!socket || UnixAddress(path).bind(socket.get()) != 0 || ::chmod(path.c_str(), 0600) != 0 ||
        ::listen(socket.get(), 4) != 0)
        throw error_from_errno(errno, "cannot listen on " + path);
    return socket;
}

}  // namespace minions::vmkit
