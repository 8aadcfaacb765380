#pragma once

#include <minions/value.hpp>

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace minions::cli {

/// A value as a person reads it: "-" for null, text with control characters escaped, lists joined by commas.
std::string shown(const Value& value);

/// Text that cannot move the cursor of a terminal.
std::string printable(std::string_view text);

/// Columns wide enough for their longest cell, two spaces between them, none at the end of a line.
void print_table(std::ostream& out, const std::vector<std::string>& header,
                 const std::vector<std::vector<std::string>>& rows);

/// The members of an object, a line each: "name:     value".
void print_members(std::ostream& out, const Value& object);

std::string encode_base64(std::string_view bytes);

}  // namespace minions::cli
