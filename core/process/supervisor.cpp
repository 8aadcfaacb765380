#include "core/process/supervisor.hpp"

#include <minions/codec.hpp>
#include <minions/error.hpp>

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace minions::core {

ProcessSupervisor::ProcessSupervisor() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_) throw error_from_errno(errno, "cannot watch processes");
    add(stopping_.fd(), 0, EPOLLIN);
    thread_ = std::thread([this] { run(); });
}

ProcessSupervisor::~ProcessSupervisor() {
    stopping_.raise();
    thread_.join();
}

void ProcessSupervisor::add(int fd, std::uint64_t key, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = key;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
        throw error_from_errno(errno, "cannot watch a process");
}

Fd ProcessSupervisor::watch(const RoleFiles& files, const shim::ProcessRecord& process) {
    FdPair pair = make_socketpair(SOCK_SEQPACKET);
    Watch watch{files, process, open_process(process.pid, process.start_time),
                open_process(process.shim_pid, process.shim_start_time), std::move(pair.second)};
    if (const auto end = verdict(watch)) {
        tell(watch, *end);
        return std::move(pair.first);
    }
    const auto watches = watches_.lock();
    const std::uint64_t id = next_++;
    const Watch& kept = watches->emplace(id, std::move(watch)).first->second;
    try {
        if (kept.process) add(kept.process.get(), id * parts + of_process, EPOLLIN);
        if (kept.shim) add(kept.shim.get(), id * parts + of_shim, EPOLLIN);
        add(kept.to.get(), id * parts + of_watcher, EPOLLRDHUP);
    } catch (...) {
        watches->erase(id);
        throw;
    }
    return std::move(pair.first);
}

std::optional<ProcessEnd> ProcessSupervisor::verdict(const Watch& watch) {
    // While the shim lives it will say how the process ended.
    if (watch.shim) return std::nullopt;
    if (const auto end = watch.files.end_of(watch.record)) return end;
    if (watch.process) return std::nullopt;
    return ProcessEnd{};
}

void ProcessSupervisor::tell(const Watch& watch, const ProcessEnd& end) {
    const std::string text = to_json(encode(end));
    ::send(watch.to.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void ProcessSupervisor::ended(const shim::ProcessRecord& process, const ProcessEnd& end) {
    const auto watches = watches_.lock();
    for (auto each = watches->begin(); each != watches->end();) {
        if (each->second.record != process) {
            ++each;
            continue;
        }
        tell(each->second, end);
        each = watches->erase(each);
    }
}

void ProcessSupervisor::run() {
    for (;;) {
        std::array<epoll_event, 64> events{};
        const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
        for (int i = 0; i < count; ++i) {
            const std::uint64_t key = events[static_cast<std::size_t>(i)].data.u64;
            if (key == 0) return;
            happened(key);
        }
    }
}

void ProcessSupervisor::happened(std::uint64_t key) {
    const auto watches = watches_.lock();
    const auto found = watches->find(key / parts);
    if (found == watches->end()) return;  // settled by an event of the same round
    Watch& watch = found->second;
    switch (static_cast<Part>(key % parts)) {
        case of_process:
            watch.process.reset();
            break;
        case of_shim:
            watch.shim.reset();
            break;
        default:
            watches->erase(found);
            return;
    }
    std::optional<ProcessEnd> end;
    try {
        end = verdict(watch);
    } catch (const Error&) {  // its records cannot be read
        if (!watch.process) end = ProcessEnd{};
    }
    if (!end) return;
    tell(watch, *end);
    watches->erase(found);
}

}  // namespace minions::core
