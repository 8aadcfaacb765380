#include "cli/output.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <ostream>

namespace minions::cli {
namespace {

constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Characters, not bytes: names of people's labels are UTF-8.
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & '\xc0') != '\x80'; }));
}

void print_row(std::ostream& out, const std::vector<std::string>& row,
               const std::vector<std::size_t>& widths) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
        line += row[i];
        if (i + 1 < row.size()) line.append(widths[i] - width_of(row[i]) + 2, ' ');
    }
    out << line.substr(0, line.find_last_not_of(' ') + 1) << '\n';
}

}  // namespace

std::string printable(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const auto byte = static_cast<unsigned char>(text[at]);
        // U+0080 to U+009F are control characters too: U+009B begins what ESC [ begins.
        const bool in_c1 = byte == 0xc2 && at + 1 < text.size() && (text[at + 1] & '\xe0') == '\x80';
        if (in_c1) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned char>(text[++at]));
        } else if (byte < 0x20 || byte == 0x7f) {
            out += fmt::format("\\x{:02x}", byte);
        } else {
            out += text[at];
        }
    }
    return out;
}

std::string shown(const Value& value) {
    if (value.is_null()) return "-";
    if (const auto* text = value.if_string()) return text->empty() ? "-" : printable(*text);
    if (const auto* array = value.if_array()) {
        std::string joined;
        for (const auto& item : *array) joined += (joined.empty() ? "" : ", ") + shown(item);
        return joined.empty() ? "-" : joined;
    }
    if (const auto* object = value.if_object()) {
        std::string joined;
        for (const auto& [name, member] : *object) {
            joined += fmt::format("{}{}={}", joined.empty() ? "" : ", ", printable(name), shown(member));
        }
        return joined.empty() ? "-" : joined;
    }
    return to_json(value);
}

void print_table(std::ostream& out, const std::vector<std::string>& header,
                 const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    widths.reserve(header.size());
    for (const auto& title : header) widths.push_back(width_of(title));
    for (const auto& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
    }
    print_row(out, header, widths);
    for (const auto& row : rows) print_row(out, row, widths);
}

void print_members(std::ostream& out, const Value& object) {
    const auto* members = object.if_object();
    if (members == nullptr) {
        out << shown(object) << '\n';
        return;
    }
    std::vector<std::vector<std::string>> rows;
    std::size_t widest = 0;
    for (const auto& [name, value] : *members) widest = std::max(widest, width_of(printable(name)) + 1);
    for (const auto& [name, value] : *members) {
        print_row(out, {printable(name) + ":", shown(value)}, {widest, 0});
    }
}

std::string encode_base64(std::string_view bytes) {
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        std::uint32_t group = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            group <<= 8U;
            if (at + i < bytes.size()) group |= static_cast<unsigned char>(bytes[at + i]);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            const bool padding = at + i > bytes.size();
            text += padding ? '=' : alphabet[(group >> (18 - 6 * i)) & 63U];
        }
    }
    return text;
}

}  // namespace minions::cli
