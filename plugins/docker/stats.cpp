#include "plugins/docker/documents.hpp"

namespace minions::docker {
namespace {

constexpr std::int64_t mib = 1024 * 1024;

/// Page cache that can be dropped at once is not memory that the container needs.
std::int64_t used_memory(const Value& memory) {
    const std::int64_t usage = memory["usage"].int_or(0);
    const Value& details = memory["stats"];
    const Value* inactive = details.find("total_inactive_file");  // cgroup v1
    if (inactive == nullptr) inactive = details.find("inactive_file");
    const std::int64_t droppable = inactive == nullptr ? 0 : inactive->int_or(0);
    return droppable < usage ? usage - droppable : usage;
}

/// Without a limit engines report the host's memory, or a figure near 2^63.
std::optional<std::int64_t> memory_limit_mb(const Value& memory) {
    const std::int64_t limit = memory["limit"].int_or(0);
    if (limit <= 0 || limit >= std::int64_t{1} << 60) return std::nullopt;
    return limit / mib;
}

void add_network(Stats& stats, const Value& networks) {
    const auto* devices = networks.if_object();
    if (devices == nullptr) return;
    std::int64_t received = 0;
    std::int64_t sent = 0;
    for (const auto& [name, counters] : *devices) {
        received += counters["rx_bytes"].int_or(0);
        sent += counters["tx_bytes"].int_or(0);
    }
    stats.network_rx_bytes = received;
    stats.network_tx_bytes = sent;
}

}  // namespace

CpuSample cpu_sample(const Value& stats) {
    CpuSample sample;
    sample.used_ns = static_cast<std::uint64_t>(stats["cpu_stats"]["cpu_usage"]["total_usage"].int_or(0));
    sample.at = parse_time(stats["read"].string_or("")).value_or(std::chrono::nanoseconds(0));
    return sample;
}

std::optional<double> cpu_percent(const CpuSample& before, const CpuSample& after) {
    const auto elapsed = (after.at - before.at).count();
    if (before.at.count() <= 0 || elapsed <= 0 || after.used_ns < before.used_ns) return std::nullopt;
    return 100.0 * static_cast<double>(after.used_ns - before.used_ns) / static_cast<double>(elapsed);
}

Stats stats_from(const Value& stats, const Value& inspected, std::chrono::system_clock::time_point now) {
    Stats out;
    const Value& memory = stats["memory_stats"];
    if (memory.find("usage") != nullptr) {
        out.memory_used_mb = used_memory(memory) / mib;
        out.memory_total_mb = memory_limit_mb(memory);
    }
    add_network(out, stats["networks"]);
    if (const auto name = inspected["Config"]["Hostname"].string_or(""); !name.empty()) out.hostname = name;
    if (const auto started = parse_time(inspected["State"]["StartedAt"].string_or(""))) {
        const auto up = std::chrono::nanoseconds(now.time_since_epoch()) - *started;
        out.uptime_secs = std::max<std::int64_t>(0, up.count() / 1'000'000'000);
    }
    return out;
}

}  // namespace minions::docker
