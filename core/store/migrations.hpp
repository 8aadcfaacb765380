#pragma once

#include "core/store/sql.hpp"

#include <filesystem>
#include <span>

namespace minions::core {

/// The statements that lead from schema version-1 to `version`.
struct Migration {
    int version;
    std::span<const char* const> statements;
};

/// Every schema there ever was, in order from 1.
std::span<const Migration> migrations();

/// Brings the database to the newest schema, each step in one transaction. What holds data is first copied to
/// <file>.v<N>.backup, whole and on disk. Throws unavailable for a schema newer than the table's.
void migrate(Sql& sql, const std::filesystem::path& file, std::span<const Migration> table = migrations());

}  // namespace minions::core
