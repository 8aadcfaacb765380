#include "machine.hpp"

#include <minions/base/files.hpp>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <sstream>
#include <system_error>

namespace minions::agent {

namespace {

constexpr auto longest_freeze = std::chrono::seconds(60);
constexpr std::size_t most_bytes = std::size_t{1} << 20U;

std::string text_of(const char* path) {
    try {
        return read_file(path, most_bytes);
    } catch (const std::system_error&) {
        return {};
    }
}

/// The number after `key` at the beginning of a line of /proc/meminfo, in bytes.
std::int64_t memory(const std::string& text, const std::string& key) {
    const std::size_t at = text.find(key);
    return at == std::string::npos ? 0 : std::strtoll(text.c_str() + at + key.size(), nullptr, 10) * 1024;
}

/// Received and sent bytes of every interface but lo.
std::pair<std::int64_t, std::int64_t> traffic() {
    std::istringstream text(text_of("/proc/net/dev"));
    std::pair<std::int64_t, std::int64_t> sum;
    for (std::string line; std::getline(text, line);) {
        const std::size_t colon = line.find(':');
        if (colon == std::string::npos || line.find("lo:") != std::string::npos) continue;
        std::istringstream values(line.substr(colon + 1));
        std::int64_t value = 0;
        for (int i = 0; i <= 8 && values >> value; ++i) {
            if (i == 0) sum.first += value;
            if (i == 8) sum.second += value;
        }
    }
    return sum;
}

/// Where file systems on block devices are mounted for writing, the root last: it is the first to be thawed.
std::vector<std::string> writable_mounts() {
    std::istringstream text(text_of("/proc/self/mounts"));
    std::vector<std::string> found;
    std::string device;
    std::string where;
    std::string type;
    std::string flags;
    std::string rest;
    while (text >> device >> where >> type >> flags && std::getline(text, rest)) {
        if (device.rfind("/dev/", 0) == 0 && flags.rfind("rw", 0) == 0) found.push_back(where);
    }
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
    return found;
}

void freeze_mount(const std::string& where, unsigned long request) {
    const Fd mount(::open(where.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!mount || ::ioctl(mount.get(), request, 0) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot freeze or thaw '" + where + "'");
}

void set_time(const Fields& request) {
    const auto now = request.number(tag::unix_ns);
    if (!now || *now < 0) throw Refusal{End::refused, "no time was given"};
    const timespec time{static_cast<time_t>(*now / 1'000'000'000), static_cast<long>(*now % 1'000'000'000)};
    if (::clock_settime(CLOCK_REALTIME, &time) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot set the clock");
}

}  // namespace

Machine::Machine(Loop& loop)
    : boot_id(text_of("/proc/sys/kernel/random/boot_id").substr(0, 36)), power(ask_init), loop_(loop) {}

Fields Machine::answer(const Fields& request) {
    switch (static_cast<Method>(request.number(tag::method).value_or(0))) {
        case Method::ping:
            break;
        case Method::status:
            return status();
        case Method::network:
            set_network(request);
            break;
        case Method::set_time:
            set_time(request);
            break;
        case Method::freeze:
            freeze();
            break;
        case Method::thaw:
            thaw();
            break;
        case Method::grow:
            use_all_cpus();
            grow_root();
            break;
        case Method::shutdown:
            power(request.number(tag::reboot).value_or(0) != 0);
            break;
        default:
            return ended(End::unsupported, "this agent does not know the method");
    }
    return ended(End::done);
}

Fields Machine::status() {
    Fields fields = ended(End::done);
    fields.add_number(tag::uptime_seconds, std::strtoll(text_of("/proc/uptime").c_str(), nullptr, 10));
    char name[256] = {};
    ::gethostname(name, sizeof name - 1);
    fields.add(tag::host_name, name);
    const std::string memory_text = text_of("/proc/meminfo");
    const std::int64_t total = memory(memory_text, "MemTotal:");
    fields.add_number(tag::memory_total_bytes, total);
    fields.add_number(tag::memory_used_bytes, total - memory(memory_text, "MemAvailable:"));
    struct statvfs disk {};
    if (::statvfs("/", &disk) == 0) {
        const auto block = static_cast<std::int64_t>(disk.f_frsize);
        fields.add_number(tag::disk_total_bytes, static_cast<std::int64_t>(disk.f_blocks) * block);
        fields.add_number(tag::disk_used_bytes,
                          static_cast<std::int64_t>(disk.f_blocks - disk.f_bfree) * block);
    }
    std::istringstream cpu(text_of("/proc/stat").substr(3));
    CpuTime now;
    std::int64_t value = 0;
    for (int i = 0; i < 8 && cpu >> value; ++i) {
        now.all += value;
        if (i != 3 && i != 4) now.busy += value;  // neither idle nor waiting for a disk
    }
    // Since the last question, or since the boot: of one CPU, so two busy ones are 200 %.
    const std::int64_t span = now.all - last_cpu_.all;
    const std::int64_t cpus = std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN));
    if (span > 0)
        fields.add_number(tag::cpu_percent_milli, (now.busy - last_cpu_.busy) * 100'000 * cpus / span);
    last_cpu_ = now;
    const auto [received, sent] = traffic();
    fields.add_number(tag::received_bytes, received);
    fields.add_number(tag::sent_bytes, sent);
    const double load = std::strtod(text_of("/proc/loadavg").c_str(), nullptr);
    fields.add_number(tag::load_1m_milli, static_cast<std::int64_t>(load * 1000));
    return fields;
}

void Machine::freeze() {
    if (!frozen_.empty()) return;
    // A host that forgets, or cannot say, to thaw must not cost the guest its disk.
    thaw_timer_ = loop_.after(longest_freeze, [this] { thaw(); });
    for (const std::string& where : writable_mounts()) {
        try {
            freeze_mount(where, FIFREEZE);
            frozen_.push_back(where);
        } catch (const std::system_error& error) {
            if (error.code().value() == EOPNOTSUPP) continue;
            thaw();
            throw;
        }
    }
}

void Machine::thaw() {
    if (thaw_timer_) loop_.cancel(*thaw_timer_);
    thaw_timer_.reset();
    while (!frozen_.empty()) {
        try {
            freeze_mount(frozen_.back(), FITHAW);
        } catch (const std::system_error&) {  // somebody else has thawed it
        }
        frozen_.pop_back();
    }
}

}  // namespace minions::agent
