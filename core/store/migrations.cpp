#include "core/store/migrations.hpp"

#include "core/store/state_files.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace minions::core {

namespace {

// Times are RFC 3339 text, '' where absent; documents are JSON text.
constexpr const char* version_1[] = {
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",

    "CREATE TABLE instances ("
    " id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, runtime TEXT NOT NULL,"
    " status TEXT NOT NULL, boot INTEGER NOT NULL, created_at TEXT NOT NULL, spec TEXT NOT NULL,"
    " environment TEXT NOT NULL, state TEXT NOT NULL, facts TEXT NOT NULL, UNIQUE (owner, name))",

    "CREATE TABLE operations ("
    " number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,"
    " subject TEXT NOT NULL, owner TEXT NOT NULL, status TEXT NOT NULL, stage TEXT NOT NULL,"
    " created_at TEXT NOT NULL, finished_at TEXT NOT NULL, error TEXT NOT NULL, result TEXT NOT NULL)",
    "CREATE INDEX operations_running ON operations (number) WHERE status = 'running'",

    "CREATE TABLE journal ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, runtime TEXT NOT NULL, instance TEXT NOT NULL,"
    " operation TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, held INTEGER NOT NULL,"
    " created_at TEXT NOT NULL)",
    "CREATE INDEX journal_instance ON journal (instance)",
    "CREATE INDEX journal_operation ON journal (operation)",

    "CREATE TABLE events ("
    " id INTEGER PRIMARY KEY, time TEXT NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL,"
    " data TEXT NOT NULL)",

    "CREATE TABLE tokens ("
    " id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, name TEXT NOT NULL, scope TEXT NOT NULL,"
    " last4 TEXT NOT NULL, created_at TEXT NOT NULL, expires_at TEXT NOT NULL) WITHOUT ROWID",

    "CREATE TABLE idempotency ("
    " owner TEXT NOT NULL, key TEXT NOT NULL, route TEXT NOT NULL, body_hash TEXT NOT NULL,"
    " operation TEXT NOT NULL, expires_at TEXT NOT NULL, PRIMARY KEY (owner, key, route)) WITHOUT ROWID",
    "CREATE INDEX idempotency_operation ON idempotency (operation)",

    "CREATE TABLE deployments ("
    " number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,"
    " agent_name TEXT NOT NULL, instance TEXT NOT NULL, container_name TEXT NOT NULL,"
    " repo_url TEXT NOT NULL, branch TEXT NOT NULL, status TEXT NOT NULL, stage TEXT NOT NULL,"
    " error TEXT NOT NULL, image TEXT NOT NULL, created_at TEXT NOT NULL, finished_at TEXT NOT NULL,"
    " request TEXT NOT NULL)",
    "CREATE INDEX deployments_agent ON deployments (owner, agent_name, number)",

    "CREATE TABLE diagnoses ("
    " owner TEXT NOT NULL, name TEXT NOT NULL, time TEXT NOT NULL, document TEXT NOT NULL,"
    " PRIMARY KEY (owner, name)) WITHOUT ROWID",
};

constexpr const char* version_2[] = {
    // Address, CID and user id of a VM all derive from its slot: unique by this constraint alone.
    "CREATE TABLE vm_slots (instance TEXT PRIMARY KEY, slot INTEGER NOT NULL UNIQUE) WITHOUT ROWID",

    "CREATE TABLE images (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, manifest TEXT NOT NULL) WITHOUT "
    "ROWID",
    "CREATE TABLE image_tags ("
    " owner TEXT NOT NULL, name TEXT NOT NULL, image TEXT NOT NULL, created_at TEXT NOT NULL,"
    " PRIMARY KEY (owner, name)) WITHOUT ROWID",
    "CREATE TABLE image_uses (instance TEXT PRIMARY KEY, image TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX image_uses_image ON image_uses (image)",
};

constexpr Migration table_of_migrations[] = {
    {1, version_1},
    {2, version_2},
};

void back_up(Sql& sql, const std::filesystem::path& file, std::int64_t version) {
    const std::filesystem::path backup = fmt::format("{}.v{}.backup", file.string(), version);
    const std::filesystem::path unfinished = backup.string() + ".new";
    std::filesystem::remove(unfinished);
    const mode_t before = ::umask(077);
    try {
        sql.command("VACUUM INTO ?", unfinished.string());
    } catch (...) {
        ::umask(before);
        std::filesystem::remove(unfinished);
        throw;
    }
    ::umask(before);
    sync_path(unfinished);
    std::filesystem::rename(unfinished, backup);
    sync_path(file.parent_path());
}

}  // namespace

std::span<const Migration> migrations() { return table_of_migrations; }

void migrate(Sql& sql, const std::filesystem::path& file, std::span<const Migration> table) {
    const std::int64_t present = sql.number("PRAGMA user_version");
    const std::int64_t newest = table.back().version;
    if (present > newest)
        throw Error{Code::unavailable,
                    fmt::format("the database {} has schema {}, and this version of minions knows up to {}",
                                file.string(), present, newest),
                    fmt::format("start the newer version, or restore the copy {}.v{}.backup if there is one",
                                file.string(), newest)};
    for (const Migration& step : table) {
        if (step.version <= present) continue;
        // A database that was made just now has nothing to keep.
        if (present > 0) back_up(sql, file, step.version - 1);
        sql.execute("BEGIN IMMEDIATE");
        try {
            for (const char* statement : step.statements) sql.execute(statement);
            sql.execute(fmt::format("PRAGMA user_version={}", step.version));
            sql.execute("COMMIT");
        } catch (...) {
            try {
                sql.execute("ROLLBACK");
            } catch (const Poco::Exception&) {  // SQLite has rolled back by itself
            }
            throw;
        }
    }
}

}  // namespace minions::core
