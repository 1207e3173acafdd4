import { renameSync } from "node:fs";
import { resolve } from "node:path";
import { defineConfig } from "vite";

const views = resolve(import.meta.dirname, "../src/flowport/actions/views");

/** Put the one script and the one style into the page, so that it is a single file. */
function inlineAll() {
  return {
    name: "inline-all",
    enforce: "post",
    generateBundle(_, bundle) {
      const files = Object.values(bundle);
      const page = files.find((file) => file.fileName === "index.html");
      const script = files.find((file) => file.type === "chunk").code.trim();
      const style = files.find((file) => file.fileName.endsWith(".css")).source.trim();
      if (/<\/(script|style)/i.test(script + style)) throw new Error("the text of an element would end it");
      page.source = String(page.source)
        .replace(/\s*<script[^>]*><\/script>/, "")
        .replace(/\s*<link rel="stylesheet"[^>]*>/, "")
        .replace("</head>", () => `<style>${style}</style>\n<script type="module">${script}</script>\n</head>`);
      for (const file of files) if (file !== page) delete bundle[file.fileName];
    },
    writeBundle() {
      renameSync(resolve(views, "index.html"), resolve(views, "run.html"));
    },
  };
}

export default defineConfig({
  root: import.meta.dirname,
  logLevel: "warn",
  plugins: [inlineAll()],
  build: { outDir: views, emptyOutDir: false, target: "es2022", modulePreload: false, cssCodeSplit: false },
});
