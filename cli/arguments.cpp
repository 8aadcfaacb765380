#include "cli/arguments.hpp"

#include "cli/session.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <optional>

namespace minions::cli {
namespace {

std::optional<std::int64_t> whole_number(std::string_view text) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
    return number;
}

}  // namespace

Value key_values(const std::vector<std::string>& arguments, const char* option, bool from_environment) {
    Value object = Value::object();
    for (const auto& argument : arguments) {
        const auto equals = argument.find('=');
        const auto key = argument.substr(0, equals);
        if (equals != std::string::npos && !key.empty()) {
            object.set(key, argument.substr(equals + 1));
            continue;
        }
        const char* held = from_environment && !key.empty() ? std::getenv(key.c_str()) : nullptr;
        if (held == nullptr) {
            throw UsageError(from_environment && !key.empty()
                                 ? fmt::format("{} {}: there is no such environment variable", option, key)
                                 : fmt::format("{} '{}' is not KEY=VALUE", option, argument));
        }
        object.set(key, held);
    }
    return object;
}

Value published_port(const std::string& argument) {
    const auto refuse = [&] {
        return UsageError(fmt::format("--publish '{}' is not [[ADDRESS:]HOST_PORT:]PORT[/udp]", argument));
    };
    std::string_view rest = argument;
    Value port = Value::object();
    if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
        const auto protocol = rest.substr(slash + 1);
        if (protocol != "tcp" && protocol != "udp") throw refuse();
        port.set("protocol", protocol);
        rest = rest.substr(0, slash);
    }
    const auto take_number = [&] {
        const auto colon = rest.rfind(':');
        if (colon == 0) throw refuse();
        const auto number = whole_number(colon == std::string_view::npos ? rest : rest.substr(colon + 1));
        if (!number || *number > 65535) throw refuse();
        rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(0, colon);
        return *number;
    };
    port.set("port", take_number());
    if (!rest.empty()) port.set("host_port", take_number());
    if (!rest.empty()) {
        if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
        port.set("address", rest);
    }
    return port;
}

std::int64_t seconds_of(const std::string& argument, const char* option) {
    constexpr std::pair<char, std::int64_t> units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    std::string_view digits = argument;
    std::int64_t factor = 1;
    for (const auto& [letter, seconds] : units) {
        if (!digits.ends_with(letter)) continue;
        digits.remove_suffix(1);
        factor = seconds;
        break;
    }
    const auto number = whole_number(digits);
    std::int64_t total = 0;
    if (!number || __builtin_mul_overflow(*number, factor, &total)) {
        throw UsageError(fmt::format("{} '{}' is not a time such as 90, 15m, 12h or 30d", option, argument));
    }
    return total;
}

std::string instance_path(const std::string& name, const std::string& below) {
    return fmt::format("/api/vms/{}{}", encode_segment(name), below);
}

}  // namespace minions::cli
