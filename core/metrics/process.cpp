#include "core/metrics/process.hpp"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace minions::core {
namespace {

/// The fields of /proc/self/stat after the program's name, the first of them being number 3 of proc(5).
std::vector<std::string> stat_fields() {
    std::ifstream file("/proc/self/stat");
    const std::string line((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const auto name_end = line.rfind(')');
    if (name_end == std::string::npos) return {};
    std::istringstream rest(line.substr(name_end + 1));
    return {std::istream_iterator<std::string>(rest), std::istream_iterator<std::string>()};
}

double boot_time_seconds() {
    std::ifstream file("/proc/stat");
    std::string word;
    while (file >> word) {
        double seconds = 0;
        if (word == "btime" && file >> seconds) return seconds;
    }
    return 0;
}

std::int64_t count_descriptors() {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc/self/fd"), ::closedir);
    if (directory == nullptr) return 0;
    std::int64_t count = 0;
    while (const auto* entry = ::readdir(directory.get())) count += entry->d_name[0] == '.' ? 0 : 1;
    return count - 1;  // without the directory's own
}

}  // namespace

ProcessFigures process_figures() {
    ProcessFigures figures;
    const auto fields = stat_fields();
    const auto field = [&](std::size_t number) { return std::strtod(fields[number - 3].c_str(), nullptr); };
    if (fields.size() > 24) {
        const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
        figures.cpu_seconds = (field(14) + field(15)) / ticks;
        figures.threads = static_cast<std::int64_t>(field(20));
        figures.start_time_seconds = boot_time_seconds() + field(22) / ticks;
        figures.virtual_bytes = static_cast<std::int64_t>(field(23));
        figures.resident_bytes = static_cast<std::int64_t>(field(24)) * ::sysconf(_SC_PAGESIZE);
    }
    figures.open_descriptors = count_descriptors();
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        figures.max_descriptors = static_cast<std::int64_t>(limit.rlim_cur);
    }
    return figures;
}

}  // namespace minions::core
