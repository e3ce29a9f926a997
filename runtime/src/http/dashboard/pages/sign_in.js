// Signing in: the token goes to the host once, which answers with a session that no script can read.

import { enter } from "../api.js";
import { h } from "../dom.js";

/** The form; `done` is called when the host has let somebody in. */
export function signIn(done) {
  const wrong = h("p", { id: "wrong", class: "bad", role: "alert" });
  const token = h("input", {
    id: "token", type: "password", required: true, autocomplete: "current-password", spellcheck: "false", "aria-describedby": "wrong", size: "40",
  });
  const submit = async (event) => {
    event.preventDefault();
    wrong.textContent = "";
    try {
      await enter(token.value.trim());
      token.value = "";
      done();
    } catch (cause) {
      wrong.textContent = cause.message;
      token.select();
    }
  };
  // Where the script fails, nothing of the form gets into an address.
  return [
    h("h2", {}, "Sign in"),
    h("p", {}, "This host answers only who has a token. Where it runs, ", h("code", {}, "nerve token create NAME --scope read --scope operate"), " makes one."),
    h("form", { method: "post", action: "/v1/session", submit }, h("label", { for: "token" }, "Token"), token, h("button", { type: "submit" }, "Sign in")),
    wrong,
  ];
}
