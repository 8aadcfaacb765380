#include "plugins/cloudhv/version.hpp"

#include <fmt/format.h>

#include <charconv>

namespace minions::cloudhv {

namespace {

/// Older ones look into a disk's first bytes, which the guest can write, to guess its format.
constexpr int oldest_major = 50;
constexpr int oldest_minor = 1;
constexpr std::string_view program = "cloud-hypervisor ";

/// A number at the beginning of the text, which is taken off; nothing if there is none.
std::optional<int> take_number(std::string_view& text) {
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || number < 0) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return number;
}

}  // namespace

std::optional<Version> parse_version(std::string_view output) {
    const std::size_t name = output.find(program);
    if (name == std::string_view::npos) return std::nullopt;
    std::string_view rest = output.substr(name + program.size());
    rest = rest.substr(0, rest.find_first_of(" \t\r\n"));
    Version version;
    version.text = rest;
    if (rest.starts_with('v')) rest.remove_prefix(1);
    const auto major = take_number(rest);
    if (!major) return std::nullopt;
    version.major = *major;
    if (rest.starts_with('.')) {
        rest.remove_prefix(1);
        version.minor = take_number(rest).value_or(0);
    }
    return version;
}

std::string why_too_old(const Version& version) {
    if (version >= Version{oldest_major, oldest_minor, ""}) return "";
    return fmt::format(
        "Cloud Hypervisor {} guesses the formats of disks, so that a guest can read files of the host "
        "(GHSA-jmr4-g2hv-mjj6): install v{}.{} or later",
        version.text, oldest_major, oldest_minor);
}

}  // namespace minions::cloudhv
