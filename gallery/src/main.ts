/** The page's two ways in: a browser at the local gallery, or the frame of an MCP App's host. */

import { startApp } from "./app";
import { startGallery } from "./gallery";
import "./style.css";

const view = document.getElementById("view");
if (view) {
  if (window.parent === window) startGallery(view);
  else void startApp(view);
}
