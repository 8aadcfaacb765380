#include "shim/options.hpp"

#include <charconv>
#include <stdexcept>
#include <string_view>

namespace minions::shim {
namespace {

template <class Number>
Number number(std::string_view text) {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
        throw std::invalid_argument("'" + std::string(text) + "' is not a number");
    return value;
}

/// What comes before the next `separator`, taken off the front.
std::string_view take(std::string_view& text, char separator) {
    const std::size_t end = std::min(text.find(separator), text.size());
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return part;
}

Identity identity(std::string_view text) {
    Identity who;
    who.uid = number<uid_t>(take(text, ':'));
    who.gid = number<gid_t>(take(text, ':'));
    while (!text.empty()) who.groups.push_back(number<gid_t>(take(text, ',')));
    return who;
}

}  // namespace

Options read_options(const std::vector<std::string>& arguments) {
    Options options;
    auto each = arguments.begin();
    for (; each != arguments.end() && *each != "--"; ++each) {
        std::string_view value = *each;
        const std::string_view name = take(value, '=');
        if (name == "--directory") {
            options.directory = value;
        } else if (name == "--role") {
            options.role = value;
        } else if (name == "--output-bytes") {
            options.output_bytes = number<std::size_t>(value);
        } else if (name == "--descriptors") {
            options.descriptors = number<int>(value);
        } else if (name == "--identity") {
            options.identity = identity(value);
        } else {
            throw std::invalid_argument("unknown option '" + *each + "'");
        }
    }
    if (each != arguments.end()) options.argv.assign(each + 1, arguments.end());
    if (options.directory.empty() || options.role.empty() || options.argv.empty() ||
        options.output_bytes == 0 || options.descriptors < 0)
        throw std::invalid_argument("--directory, --role and a program after -- are needed");
    return options;
}

}  // namespace minions::shim
