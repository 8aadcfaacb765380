#pragma once

#include "core/http/reply.hpp"
#include "core/http/request.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core::http {

/// What a caller needs for a route. `none` asks nobody: /healthz.
enum class Permission : std::uint8_t { read, exec, manage, admin, none };

/// Which threads run a handler.
enum class Lane : std::uint8_t {
    quick,    ///< the HTTP workers: answers from memory or after one database commit
    waiting,  ///< may wait for an operation, up to minutes
    command,  ///< runs a command for as long as that takes; apart, so that commands keep no change waiting
    stream,   ///< follows logs, sends events, moves files
};

enum class BodyKind : std::uint8_t {
    none,           ///< a body that is not empty is refused (413)
    json,           ///< may be empty; otherwise application/json (415)
    json_required,  ///< as json, and neither Content-Length nor chunks is a 411
    raw,            ///< read by the handler through Request::reader, any content type
};

using Handler = std::function<Reply(Request&)>;

/// One row of the table of routes. `method` and `pattern` must outlive the router (literals do).
/// A pattern is literal segments and {parameters}, each a whole segment: "/api/vms/{name}/logs".
struct Route {
    std::string_view method;
    std::string_view pattern;
    Permission permission;
    Lane lane;
    BodyKind body;
    std::size_t max_body;  ///< bytes; 0 takes the server's default for json and raw
    Handler handler;
};

/// Finds routes. Immutable, so any thread may use it. A literal segment wins over a parameter.
class Router {
  public:
    /// Throws std::logic_error for two rows with the same method and shape, a pattern without leading slash,
    /// or a row without handler: mistakes of the table, seen at start.
    explicit Router(std::vector<Route> routes);
    ~Router();
    Router(Router&&) noexcept;

    const std::vector<Route>& routes() const noexcept { return routes_; }

    struct Match {
        const Route* route = nullptr;  ///< null where the method has none
        std::string allow;  ///< "GET, HEAD, OPTIONS"; filled where route is null, empty for unknown paths
    };
    /// Fills request.route and request.params on a match. GET routes answer HEAD.
    Match match(Request& request) const;
    /// The methods of all routes, for `OPTIONS *`.
    std::string all_methods() const;

  private:
    struct Pattern;
    std::vector<Route> routes_;
    std::vector<Pattern> patterns_;
};

}  // namespace minions::core::http
