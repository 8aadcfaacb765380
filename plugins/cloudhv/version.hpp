#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace minions::cloudhv {

/// A version of Cloud Hypervisor: 50.1, or 53.0 for "v53.0-246-gae44c2971".
struct Version {
    int major = 0;
    int minor = 0;
    std::string text;  ///< as it was printed

    friend std::strong_ordering operator<=>(const Version& a, const Version& b) {
        if (const auto order = a.major <=> b.major; order != 0) return order;
        return a.minor <=> b.minor;
    }
    friend bool operator==(const Version& a, const Version& b) { return (a <=> b) == 0; }
};

/// What `cloud-hypervisor --version` printed. Nothing for the output of another program.
std::optional<Version> parse_version(std::string_view output);

/// Why that version is not used; empty if it is.
std::string why_too_old(const Version& version);

}  // namespace minions::cloudhv
