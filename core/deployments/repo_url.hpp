#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// A git repository's address taken to pieces, so that what git gets is built from checked parts.
struct RepoUrl {
    std::string scheme;  ///< https, ssh, http or file
    std::string user;    ///< ssh only
    std::string host;    ///< lower case; an IPv6 address without its brackets; empty for file
    int port = 0;        ///< 0: the scheme's own
    std::string path;    ///< begins with '/', except after user@host:path
    bool scp_form = false;

    int effective_port() const noexcept;
    /// The host as it stands in an URL: an IPv6 address in brackets.
    std::string url_host() const;
    /// What git is given.
    std::string text() const;
};

/// Takes apart what a request says in `repo_url`, without resolving anything. Throws Error{invalid} for every
/// form but https, ssh, user@host:path and what else `allowed_schemes` names, and for whatever could mean
/// something else to git, ssh or a resolver.
RepoUrl parse_repo_url(std::string_view text, const std::vector<std::string>& allowed_schemes);

}  // namespace minions::core
