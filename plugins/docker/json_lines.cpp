#include "plugins/docker/json_lines.hpp"

#include <minions/error.hpp>

namespace minions::docker {

constexpr std::size_t longest_line = std::size_t{16} << 20U;

void JsonLines::feed(std::string_view bytes) {
    while (!bytes.empty()) {
        const auto end = bytes.find('\n');
        if (end == std::string_view::npos) {
            partial_.append(bytes);
            if (partial_.size() > longest_line) {
                throw Error(Code::internal, "the engine sent a message of more than 16 MiB");
            }
            return;
        }
        if (partial_.empty()) {
            take(bytes.substr(0, end));
        } else {
            partial_.append(bytes.substr(0, end));
            const std::string line = std::move(partial_);
            partial_.clear();
            take(line);
        }
        bytes.remove_prefix(end + 1);
    }
}

void JsonLines::finish() {
    const std::string line = std::move(partial_);
    partial_.clear();
    take(line);
}

void JsonLines::take(std::string_view line) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (line.empty()) return;
    Value value;
    try {
        value = parse_json(line);
    } catch (const Error&) {
        value = Value(line);
    }
    sink_(value);
}

}  // namespace minions::docker
