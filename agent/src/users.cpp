#include "users.hpp"

#include "task.hpp"

#include <minions/base/files.hpp>

#include <algorithm>
#include <charconv>
#include <functional>
#include <optional>
#include <system_error>
#include <vector>

namespace minions::agent {

namespace {

constexpr std::size_t most_bytes = std::size_t{4} << 20U;

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (;;) {
        const std::size_t end = text.find(separator);
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

/// Calls with the fields of each line; a file that is missing has none.
void each_line(const char* path, std::size_t fields,
               const std::function<void(const std::vector<std::string_view>&)>& call) {
    std::string text;
    try {
        text = read_file(path, most_bytes);
    } catch (const std::system_error&) {
        return;
    }
    for (const auto line : split(text, '\n')) {
        const auto parts = split(line, ':');
        if (parts.size() >= fields) call(parts);
    }
}

std::optional<unsigned> number(std::string_view text) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
    return value;
}

}  // namespace

User find_user(std::string_view text) {
    const std::string_view wanted = text.empty() ? "0" : text;
    const std::size_t colon = wanted.find(':');
    const std::string_view who = wanted.substr(0, colon);
    const auto uid = number(who);
    User user;
    bool found = false;
    each_line("/etc/passwd", 7, [&](const auto& parts) {
        const auto listed = number(parts[2]);
        const auto group = number(parts[3]);
        if (found || !listed || !group || !(uid ? *listed == *uid : parts[0] == who)) return;
        found = true;
        user = {{*listed, *group, {}}, std::string(parts[0]), std::string(parts[5])};
    });
    if (!found && !uid) throw Refusal{End::refused, "there is no user '" + std::string(who) + "'"};
    if (!found) user = {{*uid, *uid, {}}, std::string(who), "/"};
    if (colon != std::string_view::npos) {
        const auto gid = number(wanted.substr(colon + 1));
        if (!gid) throw Refusal{End::refused, "the group of '" + std::string(wanted) + "' is no number"};
        user.identity.gid = *gid;
        user.identity.groups = {*gid};
        return user;
    }
    user.identity.groups = {user.identity.gid};
    each_line("/etc/group", 4, [&](const auto& parts) {
        const auto gid = number(parts[2]);
        const auto members = split(parts[3], ',');
        if (gid && *gid != user.identity.gid &&
            std::find(members.begin(), members.end(), user.name) != members.end())
            user.identity.groups.push_back(*gid);
    });
    return user;
}

}  // namespace minions::agent
