#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <ostream>

namespace minions::cli {
namespace {

struct Options {
    std::string name;
    std::string scope = "manage";
    std::string expires;
    std::string id;
};

int create(Session& session, const Options& options) {
    Value body = Value::object({{"name", options.name}, {"scope", options.scope}});
    if (!options.expires.empty()) body.set("expires_seconds", seconds_of(options.expires, "--expires"));
    const auto made = session.call("POST", "/api/tokens", body);
    if (session.json) {
        session.print_json(made);
        return exit_ok;
    }
    session.console.err << fmt::format("token {} with scope {}; it is shown this once:\n", shown(made["id"]),
                                       shown(made["scope"]));
    session.console.out << shown(made["token"]) << '\n';
    return exit_ok;
}

int list(Session& session) {
    const auto tokens = session.call("GET", "/api/tokens");
    if (session.json) {
        session.print_json(tokens);
        return exit_ok;
    }
    const auto* array = tokens.if_array();
    if (array == nullptr || array->empty()) {
        session.console.out << "No tokens found.\n";
        return exit_ok;
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto& token : *array) {
        rows.push_back({shown(token["id"]), shown(token["name"]), shown(token["scope"]),
                        fmt::format("…{}", shown(token["last4"])), shown(token["created_at"]),
                        shown(token["expires_at"])});
    }
    print_table(session.console.out, {"ID", "NAME", "SCOPE", "TOKEN", "CREATED", "EXPIRES"}, rows);
    return exit_ok;
}

int revoke(Session& session, const std::string& id) {
    const auto reply = session.call("DELETE", fmt::format("/api/tokens/{}", encode_segment(id)));
    if (session.json) {
        session.print_json(reply);
    } else {
        session.console.out << shown(reply["message"]) << '\n';
    }
    return exit_ok;
}

}  // namespace

void add_token(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand(
        "token",
        "Makes, lists and revokes the tokens by which remote callers are known.\n\n"
        "Scopes: read; exec also runs commands; manage also changes instances; admin also handles tokens.\n\n"
        "Examples:\n"
        "  minions token create ci --scope manage --expires 30d > ci.token\n"
        "  minions token list\n"
        "  minions token revoke abcdefghijkl");
    command->require_subcommand(1);
    const auto options = std::make_shared<Options>();

    auto* creating = command->add_subcommand("create", "Makes a token and prints it, this once.");
    creating->add_option("NAME", options->name, "What it is for.")->required();
    creating->add_option("--scope", options->scope, "read, exec, manage or admin. Default: manage.");
    creating->add_option("--expires", options->expires, "When it ends, from now: 12h, 30d. Default: never.");
    creating->callback(
        [&session, options] { session.run = [&session, options] { return create(session, *options); }; });

    command->add_subcommand("list", "Lists the tokens, without what makes them work.")->callback([&session] {
        session.run = [&session] { return list(session); };
    });

    auto* revoking = command->add_subcommand("revoke", "Revokes a token; it works no more at once.");
    revoking->add_option("ID", options->id, "Its id, from 'minions token list'.")->required();
    revoking->callback(
        [&session, options] { session.run = [&session, options] { return revoke(session, options->id); }; });
}

}  // namespace minions::cli
