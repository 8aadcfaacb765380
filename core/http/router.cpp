#include "core/http/router.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <stdexcept>

namespace minions::core::http {

/// The rows that share a pattern.
struct Router::Pattern {
    struct Segment {
        std::string_view text;  // without the braces
        bool parameter;
    };
    std::vector<Segment> segments;
    std::vector<std::size_t> routes;

    bool matches(const std::vector<std::string>& path) const {
        if (path.size() != segments.size()) return false;
        for (std::size_t i = 0; i < path.size(); ++i) {
            if (segments[i].parameter ? path[i].empty() : segments[i].text != path[i]) return false;
        }
        return true;
    }

    bool same_shape(const Pattern& other) const {
        return std::equal(segments.begin(), segments.end(), other.segments.begin(), other.segments.end(),
                          [](const Segment& a, const Segment& b) {
                              return a.parameter == b.parameter && (a.parameter || a.text == b.text);
                          });
    }

    // Literal before parameter, from the left.
    bool before(const Pattern& other) const {
        return std::lexicographical_compare(
            segments.begin(), segments.end(), other.segments.begin(), other.segments.end(),
            [](const Segment& a, const Segment& b) { return !a.parameter && b.parameter; });
    }
};

namespace {

template <class Segments>
void split_pattern(std::string_view pattern, Segments& out) {
    if (pattern.empty() || pattern.front() != '/') {
        throw std::logic_error(fmt::format("route '{}' does not start with '/'", pattern));
    }
    for (std::size_t start = 1; start <= pattern.size();) {
        const std::size_t end = std::min(pattern.find('/', start), pattern.size());
        const std::string_view segment = pattern.substr(start, end - start);
        const bool parameter = segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
        out.push_back({parameter ? segment.substr(1, segment.size() - 2) : segment, parameter});
        start = end + 1;
    }
}

std::string join(const std::set<std::string_view>& words) {
    return fmt::format("{}", fmt::join(words, ", "));
}

void add_method(std::set<std::string_view>& methods, std::string_view method) {
    methods.insert(method);
    if (method == "GET") methods.insert("HEAD");
}

}  // namespace

Router::Router(std::vector<Route> routes) : routes_(std::move(routes)) {
    for (std::size_t i = 0; i < routes_.size(); ++i) {
        const Route& route = routes_[i];
        if (!route.handler)
            throw std::logic_error(fmt::format("route '{} {}' has no handler", route.method, route.pattern));
        if (route.body == BodyKind::raw && route.lane == Lane::quick) {
            throw std::logic_error(
                fmt::format("raw route '{} {}' would hold a worker", route.method, route.pattern));
        }
        Pattern pattern;
        split_pattern(route.pattern, pattern.segments);
        const auto same = std::find_if(patterns_.begin(), patterns_.end(),
                                       [&](const Pattern& other) { return pattern.same_shape(other); });
        if (same == patterns_.end()) {
            pattern.routes.push_back(i);
            patterns_.push_back(std::move(pattern));
            continue;
        }
        for (const std::size_t other : same->routes) {
            if (routes_[other].method == route.method) {
                throw std::logic_error(
                    fmt::format("route '{} {}' is there twice", route.method, route.pattern));
            }
        }
        same->routes.push_back(i);
    }
    std::stable_sort(patterns_.begin(), patterns_.end(),
                     [](const Pattern& a, const Pattern& b) { return a.before(b); });
}

Router::~Router() = default;
Router::Router(Router&&) noexcept = default;

Router::Match Router::match(Request& request) const {
    std::set<std::string_view> methods;
    const std::string& method = request.method();
    const auto found = std::find_if(patterns_.begin(), patterns_.end(), [&](const Pattern& pattern) {
        return pattern.matches(request.segments());
    });
    if (found == patterns_.end()) return {};
    const Route* route = nullptr;
    for (const std::size_t index : found->routes) {
        const Route& candidate = routes_[index];
        if (candidate.method == method || (candidate.method == "GET" && method == "HEAD" && route == nullptr))
            route = &candidate;
    }
    if (route == nullptr) {
        for (const std::size_t index : found->routes) add_method(methods, routes_[index].method);
        methods.insert("OPTIONS");
        return {nullptr, join(methods)};
    }
    request.route = route->pattern;
    // Parameter names may differ between the methods of one shape, so they come from the row's own pattern.
    std::vector<Pattern::Segment> segments;
    split_pattern(route->pattern, segments);
    for (std::size_t i = 0; i < segments.size(); ++i) {
        if (segments[i].parameter) request.params.emplace_back(segments[i].text, request.segments()[i]);
    }
    return {route, {}};
}

std::string Router::all_methods() const {
    std::set<std::string_view> methods{"OPTIONS"};
    for (const Route& route : routes_) add_method(methods, route.method);
    return join(methods);
}

}  // namespace minions::core::http
