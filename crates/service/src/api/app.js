// Logs in and out. The session is in a cookie that this script can't read; what it shows beside it is the CSRF token.
"use strict";

const said = document.getElementById("said");

async function call(method, body, csrfToken) {
  const headers = { "Content-Type": "application/json" };
  if (csrfToken) headers["X-CSRF-Token"] = csrfToken;
  const response = await fetch("/api/v1/session", { method, headers, body, credentials: "same-origin" });
  // Over already is as good as ended.
  if (response.ok || (method === "DELETE" && response.status === 401)) return;
  let words = `the service answers ${response.status}`;
  try {
    const { error } = await response.json();
    words = `${error.message}: ${error.hint}`;
  } catch {}
  throw new Error(words);
}

function onSubmit(id, action) {
  const form = document.getElementById(id);
  if (!form) return;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    said.textContent = "";
    try {
      await action(form);
      location.replace("/");
    } catch (error) {
      said.textContent = error.message;
      button.disabled = false;
    }
  });
}

onSubmit("login", (form) =>
  call("POST", JSON.stringify({ name: form.elements.name.value, password: form.elements.password.value })));
onSubmit("logout", (form) => call("DELETE", undefined, form.dataset.csrf));
