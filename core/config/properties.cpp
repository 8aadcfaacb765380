#include "core/config/properties.hpp"

#include <minions/base/fd.hpp>
#include <minions/error.hpp>

#include <Poco/AutoPtr.h>
#include <Poco/Util/PropertyFileConfiguration.h>
#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <sstream>

namespace minions::core {
namespace {

constexpr std::size_t max_bytes = 1U << 20U;

std::string trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return {};
    return std::string(text.substr(first, text.find_last_not_of(" \t\r") - first + 1));
}

Fd open_checked(const std::string& path, bool& world_readable) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) {
        const int error = errno;
        if (error == EACCES) {
            throw Error(Code::forbidden,
                        fmt::format("{}: this user may not read the configuration file", path),
                        "run as root, or name another file with --config");
        }
        throw error_from_errno(error, fmt::format("cannot open the configuration file {}", path));
    }
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) throw error_from_errno(errno, fmt::format("cannot stat {}", path));
    if (!S_ISREG(status.st_mode) && path != "/dev/null") {
        throw Error(Code::invalid, fmt::format("{}: the configuration file is not a regular file", path));
    }
    if (S_ISREG(status.st_mode) && (status.st_mode & S_IWOTH) != 0) {
        throw Error(Code::forbidden, fmt::format("{}: everybody may write the configuration file", path),
                    fmt::format("run: chmod o-w {}", path));
    }
    world_readable = (status.st_mode & S_IROTH) != 0;
    return fd;
}

std::string read_text(const Fd& fd, const std::string& path) {
    std::string text;
    char buffer[16384];
    for (;;) {
        const auto count = ::read(fd.get(), buffer, sizeof buffer);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw error_from_errno(errno, fmt::format("cannot read {}", path));
        if (count == 0) break;
        text.append(buffer, static_cast<std::size_t>(count));
        if (text.size() > max_bytes) {
            throw Error(Code::invalid, fmt::format("{}: the configuration file is larger than 1 MiB", path));
        }
    }
    if (text.find('\0') != std::string::npos) {
        throw Error(Code::invalid, fmt::format("{}: the configuration file contains NUL bytes", path),
                    "it must be a text file with lines 'key = value'");
    }
    return text;
}

/// Poco's parser keeps no positions: this finds the line of each key by the same grammar.
std::vector<Property> locate(const std::string& text, const std::string& path) {
    std::vector<Property> found;
    std::map<std::string, int> lines;
    std::istringstream stream(text);
    std::string line;
    int number = 0;
    bool continued = false;
    while (std::getline(stream, line)) {
        ++number;
        const bool was_continued = continued;
        std::size_t backslashes = 0;
        const std::string content = line.substr(0, line.find_last_not_of('\r') + 1);
        while (backslashes < content.size() && content[content.size() - 1 - backslashes] == '\\')
            ++backslashes;
        const std::string start = trimmed(content);
        const bool comment = !was_continued && (start.empty() || start[0] == '#' || start[0] == '!');
        continued = !comment && backslashes % 2 == 1;
        if (comment || was_continued) continue;
        const auto separator = start.find_first_of("=:");
        const auto key = trimmed(start.substr(0, separator));
        if (separator == std::string::npos || key.empty()) {
            throw Error(Code::invalid, fmt::format("{}:{}: '{}' is not 'key = value'", path, number, key),
                        "start the line with # if it is a comment");
        }
        const auto [first, fresh] = lines.emplace(key, number);
        if (!fresh) {
            throw Error(
                Code::invalid,
                fmt::format("{}:{}: '{}' is set already in line {}", path, number, key, first->second),
                "remove one of the two lines");
        }
        found.push_back({key, {}, number});
    }
    return found;
}

}  // namespace

PropertyFile read_properties(const std::string& path) {
    PropertyFile file;
    const auto fd = open_checked(path, file.world_readable);
    const auto text = read_text(fd, path);
    file.properties = locate(text, path);
    std::istringstream stream(text);
    const Poco::AutoPtr<Poco::Util::PropertyFileConfiguration> parsed(
        new Poco::Util::PropertyFileConfiguration(stream));
    // Raw: values are not expanded, a '${' in one is a '${'.
    for (auto& property : file.properties) property.value = parsed->getRawString(property.key);
    return file;
}

}  // namespace minions::core
