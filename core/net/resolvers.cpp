#include "core/net/resolvers.hpp"

#include "core/net/subnet.hpp"

#include <minions/error.hpp>

#include <fstream>
#include <sstream>

namespace minions::core {
namespace {

constexpr std::uint32_t loopback = 127;

bool is_usable(const std::string& text) {
    try {
        const std::uint32_t address = parse_address(text);
        return address != 0 && address >> 24U != loopback;
    } catch (const Error&) {
        return false;  // IPv6, which guests do not have
    }
}

}  // namespace

std::vector<std::string> resolvers_of(const std::vector<std::string>& files) {
    for (const std::string& path : files) {
        std::vector<std::string> found;
        std::ifstream file(path);
        for (std::string line; std::getline(file, line);) {
            std::istringstream words(line);
            std::string key;
            std::string value;
            if (words >> key >> value && key == "nameserver" && is_usable(value)) found.push_back(value);
        }
        if (!found.empty()) return found;
    }
    return {};
}

std::vector<std::string> host_resolvers() {
    return resolvers_of({"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"});
}

}  // namespace minions::core
