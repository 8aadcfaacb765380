#pragma once

#include <Poco/Data/Session.h>
#include <Poco/Data/Statement.h>

#include <concepts>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

/// Inside of core/store only: the one session on the database, and statements on it by Poco::Data.
namespace minions::core {

namespace detail {
/// How a parameter is stored while it is bound: numbers as 64 bits, everything else as text.
template <class T>
using Bound = std::conditional_t<std::integral<T>, Poco::Int64, std::string>;

template <class T>
Bound<T> to_bound(const T& value) {
    return static_cast<Bound<T>>(value);
}
inline std::string to_bound(std::string_view value) { return std::string(value); }
}  // namespace detail

/// One connection. Exceptions are Poco's. Used under the store's lock only.
class Sql {
  public:
    /// Opens or makes the file: WAL, synchronous FULL, foreign keys.
    explicit Sql(const std::filesystem::path& file);

    /// Runs a statement without parameters or result.
    void execute(const std::string& sql);

    /// Runs a statement without result. Prepared once: `sql` must be a literal with always the same types.
    template <class... Args>
    void command(const char* sql, const Args&... args) {
        using Statement = Prepared<decltype(detail::to_bound(args))...>;
        auto& slot = prepared_[sql];
        if (slot == nullptr) slot = std::make_unique<Statement>(session_, sql);
        auto& statement = static_cast<Statement&>(*slot);
        statement.values = {detail::to_bound(args)...};
        try {
            statement.statement.execute();
        } catch (...) {
            slot.reset();  // what failed half way is not used again
            throw;
        }
    }

    /// All rows of a query. Columns are std::string or Poco::Int64; NULL reads as empty or 0.
    template <class... Columns, class... Args>
    std::vector<std::tuple<Columns...>> query(const std::string& sql, const Args&... args) {
        std::tuple<decltype(detail::to_bound(args))...> values{detail::to_bound(args)...};
        std::tuple<Columns...> row;
        std::vector<std::tuple<Columns...>> rows;
        Poco::Data::Statement statement(session_);
        statement << sql;
        std::apply([&](auto&... value) { (statement.addBind(Poco::Data::Keywords::use(value)), ...); },
                   values);
        std::apply([&](auto&... column) { (statement.addExtract(Poco::Data::Keywords::into(column)), ...); },
                   row);
        statement, Poco::Data::Keywords::limit(1);
        while (!statement.done()) {
            row = {};
            if (statement.execute() > 0) rows.push_back(row);
        }
        return rows;
    }

    /// The one number that a query gives; 0 if it gives none.
    template <class... Args>
    std::int64_t number(const std::string& sql, const Args&... args) {
        const auto rows = query<Poco::Int64>(sql, args...);
        return rows.empty() ? 0 : std::get<0>(rows.front());
    }

  private:
    struct PreparedBase {
        virtual ~PreparedBase() = default;
    };
    template <class... Values>
    struct Prepared final : PreparedBase {
        Prepared(Poco::Data::Session& session, const char* sql) : statement(session) {
            statement << sql;
            std::apply([&](auto&... value) { (statement.addBind(Poco::Data::Keywords::use(value)), ...); },
                       values);
        }
        std::tuple<Values...> values;
        Poco::Data::Statement statement;
    };

    Poco::Data::Session session_;
    std::unordered_map<const char*, std::unique_ptr<PreparedBase>> prepared_;
};

}  // namespace minions::core
