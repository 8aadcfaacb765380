#include "core/store/sql.hpp"

#include <Poco/Data/SQLite/Connector.h>

#include <mutex>

namespace minions::core {

namespace {

Poco::Data::Session open_session(const std::filesystem::path& file) {
    static std::once_flag registered;
    std::call_once(registered, [] { Poco::Data::SQLite::Connector::registerConnector(); });
    return {Poco::Data::SQLite::Connector::KEY, file.string()};
}

}  // namespace

Sql::Sql(const std::filesystem::path& file) : session_(open_session(file)) {
    // Another program (the sqlite3 shell of a curious person) may hold the file for a moment.
    execute("PRAGMA busy_timeout=5000");
    query<std::string>("PRAGMA journal_mode=WAL");
    execute("PRAGMA synchronous=FULL");
    execute("PRAGMA foreign_keys=ON");
    execute("PRAGMA journal_size_limit=4194304");
    // What is deleted is overwritten: the file holds tokens' hashes and encrypted secrets.
    execute("PRAGMA secure_delete=FAST");
}

void Sql::execute(const std::string& sql) {
    Poco::Data::Statement statement(session_);
    statement << sql;
    statement.execute();
}

}  // namespace minions::core
